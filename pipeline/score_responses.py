"""Scores the test responses of all policies of a replicate with a reward model of one's own: a test beside RM_all."""

from pathlib import Path

from apo_bench.core.config import PARAMS, load_params
from apo_bench.core.files import complete_directory, read_jsonl, write_jsonl
from apo_bench.core.layout import (
    MODELS,
    RESULTS,
    START_ROUND,
    Files,
    Reference,
    all_of_arms,
    all_of_references,
    own_reward_model,
    own_scores,
)
from apo_bench.core.results import OWN_SCORES, RESPONSE
from apo_bench.core.seeds import use_threads
from apo_bench.models.reward_model import all_rewards, load_reward_model, longest_scored
from apo_bench.models.tokenizer import encode_records, load_tokenizer


def files(reward_model: str, seed: int) -> Files:
    """The scores of a reward model from elsewhere, from all that the policies of a replicate left."""
    reads = {
        "model": own_reward_model(MODELS, reward_model),
        "arms": all_of_arms(RESULTS, seed),
        "references": all_of_references(RESULTS, seed),
    }
    return Files(reads, {"results": own_scores(RESULTS, reward_model, seed)})


def main(model: Path, seed: int, results: Path) -> tuple[str, Path]:
    """Scores what the policies of the replicate answered, a row a policy and round."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    reward_model, tokenizer = load_reward_model(model, params.compute), load_tokenizer(model)
    longest = longest_scored(reward_model, params.sft.max_length)
    folders = {(name, START_ROUND): Reference(name, seed).evaluation(RESULTS) for name in params.references.names}
    arms = [arm for arm in params.run.arms if arm.seed == seed]
    folders |= {(arm.group, round_id): arm.evaluation(RESULTS, round_id) for arm in arms for round_id in params.run.rounds}
    scores = []
    for (policy, round_id), folder in folders.items():
        rows = read_jsonl(folder / "prompts.jsonl", RESPONSE)
        texts, finished = [[row["response"]] for row in rows], [[row["finished"]] for row in rows]
        groups = encode_records(tokenizer, rows, texts, longest, params.compute.max_prompt_length, finished)
        rewards_N = all_rewards(reward_model, [group[0] for group in groups], tokenizer.pad_token_id, f"{policy} {round_id}")
        scores.append({"policy": policy, "round": round_id, "rewards": rewards_N.tolist()})
    with complete_directory(results) as folder:
        write_jsonl(folder / OWN_SCORES, scores)
    return f"{sum(len(row['rewards']) for row in scores)} responses of {len(scores)} policies and rounds scored", results
