"""The run that the README shows, in git: docs/results/tiny/ holds its summary, its dvc.lock, and where and by what it was made.

python -m benchmarks.result           # in a clone with a finished run: how many of its outputs are, byte by byte, those of the README's
python -m benchmarks.result --keep    # makes this run the README's: then write its tables there, and commit
"""

import argparse
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from apo_bench.config.params import PARAMS, load_params
from apo_bench.core.errors import ApoBenchError, DataError, MissingInputError
from apo_bench.core.files import read_json, write_json
from apo_bench.core.layout import REPORT, RESULTS, STORE, SUMMARY, TIMES
from apo_bench.core.results import ENVIRONMENT
from pipeline.seal import sealed

KEPT = Path("docs/results/tiny")
LOCK = Path("dvc.lock")
RUN = "run.json"
OF_THE_MOMENT = (str(TIMES), str(REPORT), str(STORE))
"""Outputs that differ from run to run: seconds, and what shows them."""
MADE = (":!*dvc.lock", ":!experiment/*", f":!{KEPT}/*")
"""What git carries of a run, which is none of its code."""


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true")
    try:
        print(f"result: {keep() if parser.parse_args().keep else compare()}")
    except ApoBenchError as error:
        print(f"result: {error}", file=sys.stderr)
        return 1
    return 0


def keep() -> str:
    """Writes the current folder's run to `KEPT`; returns what was done.

    Raises:
        DataError: it is not that of the commit, or a stage of it has to run.
    """
    if changed := _git("status", "--porcelain", "--untracked-files=no", "--", ".", *MADE):
        raise DataError(f"{changed.split()[-1]}: differs from the commit; a run that is shown is one of a commit: commit it and reproduce")
    num_stages = sealed()
    if num_stages is None:
        raise DataError("dvc.lock: not known to be up to date; run `make repro` once more")
    KEPT.mkdir(parents=True, exist_ok=True)
    for file in (REPORT / SUMMARY, LOCK):
        (KEPT / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), mtime=0))  # the same bytes for the same run
    environments = [read_json(file) for file in sorted(RESULTS.glob(f"**/{ENVIRONMENT}"))]
    libraries = {
        key: sorted({found[key] for found in environments if key in found}) for key in ("python", "torch", "transformers", "device")
    }
    seconds = sum(read_json(file)["cpu_seconds"] for file in TIMES.glob("**/*.json"))
    made = {"command": "make repro", "commit": _git("rev-parse", "HEAD"), "profile": load_params(PARAMS).profile}
    write_json(KEPT / RUN, made | libraries | {"num_stages": num_stages, "cpu_seconds": round(seconds)})
    return f"{num_stages} stages of commit {made['commit'][:7]} -> {KEPT}"


def compare() -> str:
    """How many outputs of the current folder's run have the bytes that those of `KEPT` have.

    Raises:
        MissingInputError: one of the two runs is not there.
    """
    if not LOCK.is_file():
        raise MissingInputError("dvc.lock: no such file; `make repro` writes it")
    if not (KEPT / f"{LOCK.name}.gz").is_file():
        raise MissingInputError(f"{KEPT}: no run is kept there; python -m benchmarks.result --keep")
    here, there = outputs(LOCK.read_text(encoding="utf-8")), outputs(gzip.decompress((KEPT / f"{LOCK.name}.gz").read_bytes()).decode())
    both = here.keys() & there.keys()
    other = sorted(path for path in both if here[path] != there[path])
    made = json.loads((KEPT / RUN).read_text(encoding="utf-8"))
    first = f", not {other[0]}" if other else ""
    return (
        f"{len(both) - len(other)} of {len(both)} outputs are those of commit {made['commit'][:7]} on {', '.join(made['device'])}{first}; "
        f"{len(here) - len(both)} are here alone, {len(there) - len(both)} there alone"
    )


def outputs(lock: str) -> dict[str, str]:
    """The hash of each output in the text of a dvc.lock, by path, without those `OF_THE_MOMENT`."""
    from dvc.utils.serialize import parse_yaml

    stages: dict[str, Any] = parse_yaml(lock, LOCK)["stages"]
    outs = (out for stage in stages.values() for out in stage.get("outs", ()))
    return {out["path"]: out["md5"] for out in outs if not out["path"].startswith(OF_THE_MOMENT)}


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
