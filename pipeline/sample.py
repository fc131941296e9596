"""Samples the policy's responses to the prompts of a records file, for training."""

from pathlib import Path

from apo_bench.core.config import PARAMS, load_params
from apo_bench.core.results import write_metrics
from apo_bench.core.seeds import derive_seed, use_threads
from apo_bench.data.records import read_records, write_records
from apo_bench.engines.sampling import sample_responses
from apo_bench.models.tokenizer import load_tokenizer


def main(policy: Path, prompts: Path, seed: int, round: str, output: Path, results: Path) -> tuple[str, Path]:
    """Samples from POLICY for the PROMPTS file, writes what it took to RESULTS; SEED and ROUND name the draws, which all arms share."""
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
    counts = {
        "num_samples": sum(len(group.responses) for group in groups),
        "num_tokens_generated": sum(sum(group.lengths) for group in groups),
        "num_tokens_read": sum(group.prompt_length for group in groups),
    }
    write_metrics(results, counts)
    finished = sum(sum(group.finished) for group in groups) / (len(groups) * params.sampling.train.num_samples)
    return f"{len(rows)} x {params.sampling.train.num_samples} responses, {finished:.1%} finished", output
