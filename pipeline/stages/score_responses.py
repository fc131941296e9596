"""Scores the test responses of all policies of a replicate with a reward model of one's own: a test beside RM_all."""

from pathlib import Path

from apo_bench.config.params import PARAMS, Params, load_params
from apo_bench.core.files import complete_directory, read_jsonl, write_jsonl
from apo_bench.core.layout import MODELS, RESPONSES, RESULTS, START_ROUND, Reference, own_reward_model, own_scores, replicate
from apo_bench.core.results import OWN_SCORES, RESPONSE
from apo_bench.core.seeds import use_threads
from apo_bench.core.stage import Files, Sizes, Stage, Work
from apo_bench.models.reward_model import all_rewards, load_reward_model, longest_scored
from apo_bench.models.tokenizer import encode_records, load_tokenizer

STAGE = Stage(runs="models")


def files(reward_model: str, seed: int) -> Files:
    """The scores of a reward model from elsewhere, from all that the policies of a replicate answered."""
    reads = {"model": own_reward_model(MODELS, reward_model), "responses": replicate(RESPONSES, seed)}
    return Files(reads, {"results": own_scores(RESULTS, reward_model, seed)})


def work(params: Params, sizes: Sizes) -> Work:
    """What each policy of a replicate answered."""
    run = params.run
    num_policies = len(params.references.names) + len(run.methods) * len(run.reward_models) * len(run.rounds)
    return Work(read_reward=num_policies * sizes.rows("prompts_test", 0, 1, params.sampling.test.max_new_tokens))


def main(model: Path, seed: int, results: Path) -> tuple[str, Path]:
    """Scores what the policies of the replicate answered, a row a policy and round."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    reward_model, tokenizer = load_reward_model(model, params.compute), load_tokenizer(model)
    longest = longest_scored(reward_model, params.sft.max_length)
    answers = {(name, START_ROUND): Reference(name, seed).responses(RESPONSES) for name in params.references.names}
    arms = [arm for arm in params.run.arms if arm.seed == seed]
    answers |= {(arm.group, round_id): arm.responses(RESPONSES, round_id) for arm in arms for round_id in params.run.rounds}
    scores = []
    for (policy, round_id), file in answers.items():
        rows = read_jsonl(file, RESPONSE)
        texts, finished = [[row["response"]] for row in rows], [[row["finished"]] for row in rows]
        groups = encode_records(tokenizer, rows, texts, longest, params.compute.max_prompt_length, finished)
        rewards_N = all_rewards(reward_model, [group[0] for group in groups], tokenizer.pad_token_id, f"{policy} {round_id}")
        scores.append({"policy": policy, "round": round_id, "rewards": rewards_N.tolist()})
    with complete_directory(results) as folder:
        write_jsonl(folder / OWN_SCORES, scores)
    return f"{sum(len(row['rewards']) for row in scores)} responses of {len(scores)} policies and rounds scored", results
