"""Scores the policy's samples on the LM half with gold: what the methods would make of a reward model without a fault."""

from pathlib import Path

from apo_bench.core.files import complete_directory, write_json
from apo_bench.data.records import SCORED, SCORED_GOLDEN, read_records, write_records
from apo_bench.evaluation.reward_models import score_samples_by_gold


def main(data: Path, samples: Path, results: Path) -> tuple[str, Path]:
    """Scores SAMPLES and the golden responses of DATA with gold; writes both and what they say to RESULTS."""
    golden, rows = read_records(data / "golden_lm.jsonl", "responses"), read_records(samples, "samples")
    scored, scored_golden, metrics = score_samples_by_gold(rows, golden)
    with complete_directory(results) as folder:
        write_records(folder / SCORED, scored)
        write_records(folder / SCORED_GOLDEN, scored_golden)
        write_json(folder / "metrics.json", metrics)
    return f"{len(scored)} prompts scored by gold, {metrics['mean_gold']:z.2f}", results
