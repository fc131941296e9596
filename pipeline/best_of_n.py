"""The best of n: SFT's samples to the test prompts, of which RM_base picks one. What a choice is worth that trains nothing."""

from pathlib import Path

from apo_bench.core.config import PARAMS, load_params
from apo_bench.core.layout import BASE, BEST_OF_N, DATA, MODELS, RESULTS, TEST_REWARD_MODEL, Files, Reference, records, reward_model, sft
from apo_bench.core.seeds import derive_seed, use_threads
from apo_bench.data.records import read_records
from apo_bench.engines.sampling import Samples, sample_responses
from apo_bench.evaluation.policies import evaluate_policy, write_evaluation
from apo_bench.models.language_model import load_language_model
from apo_bench.models.reward_model import all_rewards, load_reward_model, longest_scored
from apo_bench.models.tokenizer import encode_records, load_tokenizer


def files(seed: int) -> Files:
    """The evaluation of SFT's choice, from SFT, RM_base and RM_all."""
    return Files(
        {
            "prompts_test": records(DATA, "prompts_test"),
            "policy": sft(MODELS, seed),
            "model": reward_model(MODELS, BASE, seed),
            "reward_all": reward_model(MODELS, TEST_REWARD_MODEL, seed),
        },
        {"results": Reference(BEST_OF_N, seed).evaluation(RESULTS)},
    )


def main(policy: Path, model: Path, reward_all: Path, prompts_test: Path, seed: int, results: Path) -> tuple[str, Path]:
    """Samples from SFT as for training, keeps what RM_base scores best, and evaluates it; writes a row a prompt."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    compute, max_length = params.compute, params.sft.max_length
    tokenizer, prompts = load_tokenizer(policy), read_records(prompts_test, "prompts")
    groups = sample_responses(
        policy,
        tokenizer,
        [row["dialogue"] for row in prompts],
        params.sampling.train,
        compute,
        params.engines,
        derive_seed(seed, "best_of_n"),
        "samples to choose from",
    )
    responses, finished = [group.responses for group in groups], [group.finished for group in groups]
    chooser = load_reward_model(model, compute)
    encoded = encode_records(tokenizer, prompts, responses, longest_scored(chooser, max_length), compute.max_prompt_length, finished)
    flat = [sequence for group in encoded for sequence in group]
    rewards_PN = all_rewards(chooser, flat, tokenizer.pad_token_id, "choose").view(len(prompts), -1)
    best = [best_of(group, rewards) for group, rewards in zip(groups, rewards_PN.tolist(), strict=True)]
    sft = load_language_model(policy, compute)
    rows = evaluate_policy(sft, sft, load_reward_model(reward_all, compute), tokenizer, prompts, best, compute, max_length, params.has_gold)
    return write_evaluation(rows, results), results


def best_of(group: Samples, rewards: list[float]) -> Samples:
    """The response of a prompt that is scored best, the first of equals."""
    choice = rewards.index(max(rewards))
    return Samples([group.responses[choice]], [group.finished[choice]], group.prompt_length, [group.lengths[choice]])
