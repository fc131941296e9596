"""Samples the policy's responses to the prompts of a records file, for training."""

from pathlib import Path

from apo_bench.config.params import PARAMS, Params, load_params
from apo_bench.core.layout import MODELS, RESULTS, SAMPLES, Arm, prompts_of
from apo_bench.core.results import write_metrics
from apo_bench.core.seeds import derive_seed, use_threads
from apo_bench.core.stage import Files, Sizes, Stage, Step, Work
from apo_bench.data.records import read_records, write_records
from apo_bench.engines.sampling import counts, sample_responses
from apo_bench.models.tokenizer import load_tokenizer

STAGE = Stage(
    runs="sampling",
    counts=("num_samples", "num_tokens_generated", "num_tokens_read"),
    step=lambda at: Step.GOLDEN_SAMPLES if at["half"] == "rm" else Step.SAMPLES,
)


def files(half: str, seed: int, round: str, method: str = "", reward_model: str = "") -> Files:
    """Samples of the policy before a round: of an arm or, in round 1, of the start that arms share."""
    arm = Arm(method, reward_model, seed)
    return Files(
        {"policy": arm.policy_before(MODELS, round), "prompts": prompts_of(half)},
        {"output": arm.samples(SAMPLES, round, half), "results": arm.sampling(RESULTS, round, half)},
    )


def work(params: Params, sizes: Sizes, half: str) -> Work:
    """K samples a prompt."""
    return Work(sample=sizes.count[prompts_of(half).stem] * params.sampling.train.num_samples * sizes.sampled)


def main(policy: Path, prompts: Path, seed: int, round: str, output: Path, results: Path) -> tuple[str, Path]:
    """Samples for the prompts of a half, lm or rm, and says what it took; SEED and ROUND name the draws, which all arms share."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    rows = read_records(prompts, "prompts")
    draw = derive_seed(seed, "sample", prompts.stem, round)
    groups = sample_responses(
        policy,
        load_tokenizer(policy),
        [row["dialogue"] for row in rows],
        params.sampling.train,
        params.compute,
        params.engines,
        draw,
        f"{round}: samples",
    )
    records = [
        {**{key: row[key] for key in ("id", "subset", "dialogue")}, "responses": group.responses, "finished": group.finished}
        for row, group in zip(rows, groups, strict=True)
    ]
    write_records(output, records)
    write_metrics(results, counts(groups))
    finished = sum(sum(group.finished) for group in groups) / (len(groups) * params.sampling.train.num_samples)
    return f"{len(rows)} x {params.sampling.train.num_samples} responses, {finished:.1%} finished", output
