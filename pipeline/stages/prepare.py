"""Makes the records of the profile: pairs, prompts, golden responses, demonstrations, pretraining text."""

from pathlib import Path

from apo_bench.config.params import PARAMS, load_params
from apo_bench.core.files import complete_directory, write_json
from apo_bench.core.layout import DATA, RESULTS, preparation, records
from apo_bench.core.stage import Files, Stage
from apo_bench.data.records import write_records

STAGE = Stage()


def files() -> Files:
    """All records of the profile."""
    return Files({}, {"output": DATA, "results": preparation(RESULTS)})


def main(output: Path, results: Path) -> tuple[str, Path]:
    """Writes a JSONL file a split, and the counts."""
    files, report = load_params(PARAMS).prepare.prepare()
    with complete_directory(output) as folder:
        for name, rows in files.items():
            write_records(records(folder, name), rows)
    with complete_directory(results) as folder:
        write_json(folder / "metrics.json", report)
    num_dropped = sum(sum(reasons.values()) for reasons in report.get("dropped", {}).values())
    dropped = f", {num_dropped} raw pairs dropped" if num_dropped else ""
    return f"{sum(map(len, files.values()))} records{dropped}", output
