"""The best of n: SFT's samples to the test prompts, of which RM_base picks one. What a choice is worth that trains nothing."""

from pathlib import Path

from apo_bench.config.params import PARAMS, Params, load_params
from apo_bench.core.files import write_jsonl
from apo_bench.core.layout import BASE, BEST_OF_N, DATA, MODELS, RESPONSES, RESULTS, Reference, records, reward_model, sft
from apo_bench.core.results import write_metrics
from apo_bench.core.seeds import derive_seed, use_threads
from apo_bench.core.stage import Files, Sizes, Stage, Work
from apo_bench.data.records import read_records
from apo_bench.engines.sampling import Samples, counts, response_rows, sample_responses
from apo_bench.models.reward_model import all_rewards, load_reward_model, longest_scored
from apo_bench.models.tokenizer import encode_records, load_tokenizer

STAGE = Stage(runs="sampling")


def files(seed: int) -> Files:
    """SFT's choice, from SFT and RM_base."""
    return Files(
        {
            "prompts_test": records(DATA, "prompts_test"),
            "policy": sft(MODELS, seed),
            "model": reward_model(MODELS, BASE, seed),
        },
        {"output": Reference(BEST_OF_N, seed).responses(RESPONSES), "results": Reference(BEST_OF_N, seed).responding(RESULTS)},
    )


def work(params: Params, sizes: Sizes) -> Work:
    """K samples a test prompt, which RM_base reads."""
    num_samples, limit = params.sampling.train.num_samples, params.sampling.train.max_new_tokens
    sampled = sizes.count["prompts_test"] * num_samples * min(sizes.sampled, limit)
    return Work(sample=sampled, read_reward=sizes.rows("prompts_test", 0, num_samples, limit))


def main(policy: Path, model: Path, prompts_test: Path, seed: int, output: Path, results: Path) -> tuple[str, Path]:
    """Samples from SFT as for training, and keeps what RM_base scores best; writes a row a prompt."""
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
    write_jsonl(output, response_rows(prompts, best))
    write_metrics(results, counts(groups))
    return f"the best of {params.sampling.train.num_samples} for {len(prompts)} prompts", output


def best_of(group: Samples, rewards: list[float]) -> Samples:
    """The response of a prompt that is scored best, the first of equals."""
    choice = rewards.index(max(rewards))
    return Samples([group.responses[choice]], [group.finished[choice]], group.prompt_length, [group.lengths[choice]])
