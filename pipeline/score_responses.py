"""Scores the test responses of all policies of a replicate with a reward model of one's own: a test beside RM_all."""

from pathlib import Path

from apo_bench.core.config import PARAMS, load_params
from apo_bench.core.files import complete_directory, read_jsonl, write_jsonl
from apo_bench.core.layout import arms, reference_evaluation, reference_names
from apo_bench.core.results import OWN_SCORES, RESPONSE
from apo_bench.core.sections import START_ROUND
from apo_bench.core.seeds import use_threads
from apo_bench.models.reward_model import all_rewards, load_reward_model, longest_scored
from apo_bench.models.tokenizer import encode_records, load_tokenizer


def main(reward_model: Path, responses: Path, seed: int, results: Path) -> tuple[str, Path]:
    """Scores with REWARD_MODEL what the policies of SEED answered, as RESPONSES, the folder of all results, has it; writes to RESULTS."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    model, tokenizer = load_reward_model(reward_model, params.compute), load_tokenizer(reward_model)
    longest = longest_scored(model, params.sft.max_length)
    folders = {(name, START_ROUND): reference_evaluation(responses, name, seed) for name in reference_names(params.references)}
    mine = [arm for arm in arms(params.run) if arm.seed == seed]
    folders |= {(arm.group, round_id): arm.evaluation(responses, round_id) for arm in mine for round_id in params.run.rounds}
    scores = []
    for (policy, round_id), folder in folders.items():
        rows = read_jsonl(folder / "prompts.jsonl", RESPONSE)
        texts, finished = [[row["response"]] for row in rows], [[row["finished"]] for row in rows]
        groups = encode_records(tokenizer, rows, texts, longest, params.compute.max_prompt_length, finished)
        rewards_N = all_rewards(model, [group[0] for group in groups], tokenizer.pad_token_id, f"{policy} {round_id}")
        scores.append({"policy": policy, "round": round_id, "rewards": rewards_N.tolist()})
    with complete_directory(results) as folder:
        write_jsonl(folder / OWN_SCORES, scores)
    return f"{sum(len(row['rewards']) for row in scores)} responses of {len(scores)} policies and rounds scored", results
