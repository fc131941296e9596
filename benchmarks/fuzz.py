"""What small faults in each kind of input lead to: a clear error, no harm, a traceback, or, worst, nothing that anyone would notice.

    python -m benchmarks.fuzz [--number 10000] [--seed 0] [--kinds models ...]

Each kind makes a whole input, changes one thing in it (`benchmarks.mutations`), and reads it as the pipeline does. An input that is taken
all the same is shown to do no harm by the rule of its kind, which does not use the code that reads it: what it gives is what it gave
before, or what stands in the file is a valid value, and is what was taken.
"""

import argparse
import os
import random
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from apo_bench.core.errors import ApoBenchError

CLEAR, HARMLESS, TRACEBACK, SILENT = "clear errors", "harmless", "tracebacks", "silent"
OUTCOMES = (CLEAR, HARMLESS, TRACEBACK, SILENT)
MAX_LINE = 600
"""Characters of a message that is still one to read."""


@dataclass(frozen=True)
class Tried:
    """A mutation and what it led to."""

    what: str
    outcome: str
    said: str


Trial = Callable[[random.Random], Tried]
"""One mutation, drawn, and read."""


def tried(what: str, read: Callable[[], str]) -> Tried:
    """Runs a reader, which returns why what it took does harm, "" if it does none."""
    try:
        harm = read()
    except ApoBenchError as error:
        text = str(error)
        is_clear = "\n" not in text and ": " in text and len(text) <= MAX_LINE
        return Tried(what, CLEAR if is_clear else TRACEBACK, text)
    except (Exception, RecursionError):
        return Tried(what, TRACEBACK, traceback.format_exc(limit=-4))
    return Tried(what, SILENT if harm else HARMLESS, harm)


def kinds() -> dict[str, Callable[[Path], Trial]]:
    """What can be tried, by name: makes a whole input in a folder, and gives what breaks it."""
    from benchmarks.broken_inputs import exchange_files, hh_files, ledgers, params, records, server_answers
    from benchmarks.broken_models import model_folders

    return {
        "params": params,
        "records": records,
        "HH files": hh_files,
        "ledgers": ledgers,
        "server answers": server_answers,
        "exchange files": exchange_files,
        "model folders": model_folders,
    }


SHARES = {
    "params": 0.1,
    "records": 0.3,
    "HH files": 0.1,
    "ledgers": 0.15,
    "server answers": 0.05,
    "exchange files": 0.2,
    "model folders": 0.1,
}
"""Of all mutations."""


def sweep(make: Callable[[Path], Trial], number: int, seed: int) -> list[Tried]:
    """Tries a kind as often as asked."""
    with TemporaryDirectory() as folder:
        trial = make(Path(folder))
        return [trial(random.Random(f"{seed} {count}")) for count in range(number)]


def main() -> int:
    """Prints a table, and what went wrong; returns 1 if something did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*")
    options = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"
    chosen = {name: make for name, make in kinds().items() if not options.kinds or name in options.kinds}
    whole = sum(SHARES[name] for name in chosen)
    print(f"| kind | tried | {' | '.join(OUTCOMES)} |\n|---|{'---:|' * (1 + len(OUTCOMES))}", flush=True)
    faults: list[tuple[str, Tried]] = []
    for name, make in chosen.items():
        found = sweep(make, round(options.number * SHARES[name] / whole), options.seed)
        counts = Counter(one.outcome for one in found)
        print(f"| {name} | {len(found)} | {' | '.join(str(counts[outcome]) for outcome in OUTCOMES)} |", flush=True)
        faults += [(name, one) for one in found if one.outcome in (TRACEBACK, SILENT)]
    for name, one in faults[:40]:
        print(f"\n{name}: {one.what}: {one.outcome}\n{one.said}", file=sys.stderr)
    return int(bool(faults))


def copied(source: Path, target: Path) -> Path:
    """A fresh copy of a folder."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target


if __name__ == "__main__":
    sys.exit(main())
