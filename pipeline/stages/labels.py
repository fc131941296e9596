"""Draws the human labels of a replicate: who asks other annotators gets other ones."""

import random
from pathlib import Path

from apo_bench.core.files import complete_directory
from apo_bench.core.layout import DATA, LABELS, RESULTS, labelling, records, replicate
from apo_bench.core.results import write_metrics
from apo_bench.core.seeds import derive_seed
from apo_bench.core.stage import Files, Stage
from apo_bench.data.labels import draw_labels
from apo_bench.data.records import read_records, write_records

FURTHER = "pairs_further"
FILES = ("pairs_rm", "pairs_lm", FURTHER)

STAGE = Stage()


def files(seed: int) -> Files:
    """The labels of a replicate, from the records."""
    return Files({"data": DATA}, {"output": replicate(LABELS, seed), "results": labelling(RESULTS, seed)})


def main(data: Path, seed: int, output: Path, results: Path) -> tuple[str, Path]:
    """Labels the training pairs anew where their labels' probability is known; writes them, and counts."""
    num_pairs, num_turned = 0, 0
    with complete_directory(output) as folder:
        for name in FILES:
            if name == FURTHER and not records(data, name).is_file():  # asked for by no reward model
                continue
            pairs = read_records(records(data, name), "pairs")
            drawn = draw_labels(pairs, random.Random(derive_seed(seed, "labels", name)))
            write_records(records(folder, name), drawn)
            num_pairs += len(pairs)
            num_turned += sum(new["chosen"] != old["chosen"] for new, old in zip(drawn, pairs, strict=True))
    write_metrics(results, {"num_pairs": num_pairs, "num_turned": num_turned})
    return f"{num_pairs} pairs, {num_turned} labels other than those of the records", output
