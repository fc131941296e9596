"""Scores the policy's samples on the LM half with gold: what the methods would make of a reward model without a fault."""

from pathlib import Path

from apo_bench.core.files import complete_directory, write_json
from apo_bench.core.layout import DATA, RESULTS, SAMPLES, Arm, records
from apo_bench.core.stage import Files, Stage, Step
from apo_bench.data.records import SCORED, SCORED_GOLDEN, read_records, write_records
from apo_bench.evaluation.samples import score_samples_by_gold

STAGE = Stage(step=Step.SCORES)


def files(reward_model: str, seed: int, round: str, method: str = "") -> Files:
    """The scores of a round's samples: of an arm or, in round 1, for all methods."""
    arm = Arm(method, reward_model, seed)
    return Files(
        {"golden": records(DATA, "golden_lm"), "samples": arm.samples(SAMPLES, round, "lm")}, {"results": arm.score(RESULTS, round)}
    )


def main(golden: Path, samples: Path, results: Path) -> tuple[str, Path]:
    """Scores the samples and the golden responses; writes both, and what they say."""
    scored, scored_golden, metrics = score_samples_by_gold(read_records(samples, "samples"), read_records(golden, "responses"))
    with complete_directory(results) as folder:
        write_records(folder / SCORED, scored)
        write_records(folder / SCORED_GOLDEN, scored_golden)
        write_json(folder / "metrics.json", metrics)
    return f"{len(scored)} prompts scored by gold, {metrics['mean_gold']:z.2f}", results
