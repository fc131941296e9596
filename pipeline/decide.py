"""Adds seeds to a profile, look after look, until every primary claim has a verdict or the budget ends: what `make decide` runs.

The looks are those of claims.looks, stated before the first of them; DVC runs the stages of the new seeds alone.
"""

import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from apo_bench.claims.inference import UNDECIDED
from apo_bench.claims.results import design_of
from apo_bench.config.params import PARAMS, Params, load_params
from apo_bench.core import layout
from apo_bench.core.errors import ApoBenchError, ConfigError
from apo_bench.core.files import read_json, write_text
from apo_bench.core.layout import REPORT
from apo_bench.provenance.times import WALL, files_of_seconds, read_seconds
from apo_bench.stages import num_side_by_side, this_host
from pipeline.progress import UNITS, duration

SUMMARY = REPORT / layout.SUMMARY
SECONDS = UNITS | {"d": 86400}


def main(arguments: list[str]) -> int:
    """Decides within a budget, such as 90m, 2h or 1.5d; returns the exit status."""
    try:
        if len(arguments) != 1:
            raise ConfigError(f"budget: found {' '.join(arguments) or 'nothing'}, expected one duration such as 2h (make decide BUDGET=2h)")
        return decide(budget_seconds(arguments[0]))
    except ApoBenchError as error:
        print(f"decide: {error}", file=sys.stderr)
        return 1


def decide(budget: float) -> int:
    """Takes looks while some claim is open and the budget has room for one; returns the exit status.

    Raises:
        ConfigError: params.yaml states no looks.
    """
    started, params = time.monotonic(), load_params(PARAMS)
    seconds_a_seed: float | None = None
    if not params.claims.looks:
        raise ConfigError(
            f"{PARAMS}: claims.looks: [], one look alone; state the numbers of seeds to look at before the first, as [6, 12, 24, 48]"
        )
    while True:
        num_seeds = len(params.run.seeds)
        summary = read_summary(params)
        if summary and num_seeds in params.claims.looks:
            say(f"after {num_seeds} seeds: {' '.join(told(summary))}")
            if not open_claims(summary):
                return 0
        look = next_look(params, is_run=summary is not None)
        if look is None:
            say(f"{params.claims.looks[-1]} seeds are the last look; what is open stays so")
            return 0
        per_seed = seconds_a_seed or recorded_seconds_a_seed(params)
        num_new = look - num_seeds if summary else look - num_recorded(params)
        cost = None if per_seed is None else per_seed * num_new
        price = "how long is not known yet" if cost is None else f"about {duration(cost)}"
        price += ", evaluation not counted" if cost and not seconds_a_seed else ""
        say(f"the look at {look} seeds takes {num_new} more: {price}; {duration(max(0.0, started + budget - time.monotonic()))} are left")
        if cost is not None and time.monotonic() - started + cost > budget:
            say("that is more than is left, so here it ends")
            return 0
        write_text(PARAMS, with_seeds(PARAMS, enough_seeds(params.run.seeds, look)))
        before = time.monotonic()
        if status := subprocess.run([sys.executable, "-m", "pipeline.repro"], check=False).returncode:
            return status
        params = load_params(PARAMS)
        if num_new > 0:
            seconds_a_seed = (time.monotonic() - before) / num_new


def say(text: str) -> None:
    """Tells the terminal, at once."""
    print(f"decide: {text}", flush=True)


def budget_seconds(text: str) -> float:
    """The seconds of a duration such as 90m, 2h or 1.5d.

    Raises:
        ConfigError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not found or float(found[1]) == 0:
        raise ConfigError(f"budget: found {text!r}, expected a duration such as 90m, 2h or 1.5d (make decide BUDGET=2h)")
    return float(found[1]) * SECONDS[found[2]]


def next_look(params: Params, is_run: bool) -> int | None:
    """The number of seeds to look at next: that of the run, if it is one and has not been taken; None after the last."""
    num_seeds = len(params.run.seeds)
    return num_seeds if num_seeds in params.claims.looks and not is_run else design_of(params.claims).next_look(num_seeds)


def enough_seeds(seeds: list[int], number: int) -> list[int]:
    """Those there are, in their order, which says what each look saw, and further ones."""
    return [*seeds, *range(max(seeds) + 1, max(seeds) + 1 + number - len(seeds))]


def with_seeds(path: Path, seeds: list[int]) -> str:
    """The text of params.yaml with these seeds, as `dvc exp run -S` would leave it: in the form of ours every other byte as it is."""
    from dvc.utils.hydra import apply_overrides  # imports hydra, half a second

    with TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(path.read_bytes())
        apply_overrides(copy, [f"run.seeds={seeds}"])
        return copy.read_text(encoding="utf-8")


def read_summary(params: Params) -> dict[str, Any] | None:
    """What the last comparison found, if it is of the seeds and claims of params.yaml; else None."""
    if not SUMMARY.is_file():
        return None
    summary = read_json(SUMMARY)
    is_of_run = summary.get("run", {}) == params.run.model_dump() and summary.get("claims", {}).get("looks") == params.claims.looks
    return summary["claims"] if is_of_run else None


def open_claims(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The primary claims without a verdict."""
    return {name: claim for name, claim in _primary(summary).items() if claim["verdict"] == UNDECIDED}


def told(summary: dict[str, Any]) -> Iterable[str]:
    """What is decided, what is open, and about how many seeds that would take."""
    is_open = open_claims(summary)
    decided = {name: claim["verdict"] for name, claim in _primary(summary).items() if claim["p"] is not None and name not in is_open}
    yield "; ".join(f"{name} {verdict}" for name, verdict in decided.items()) + "." if decided else "Nothing is decided."
    if is_open:
        counts = {name: claim["num_seeds_needed"] for name, claim in is_open.items()}
        needed = {name: f"about {number} seeds" if number else "no number would do" for name, number in counts.items()}
        yield f"Open: {'; '.join(f'{name} ({text})' for name, text in needed.items())}."
    else:
        yield "Nothing is open."


def _primary(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = summary["families"][summary["primary"]]
    return found


def recorded_seconds_a_seed(params: Params) -> float | None:
    """By what the stages of the seeds that have run took, so many of them side by side; None if none has."""
    recorded = [files for seed in params.run.seeds if (files := files_of_seconds(seed))]
    totals = [sum(read_seconds(file)[WALL] for file in files) for files in recorded]
    return sum(totals) / len(totals) / num_side_by_side(this_host(params)) if totals else None


def num_recorded(params: Params) -> int:
    """Seeds of the run that have run, or have begun to."""
    return sum(bool(files_of_seconds(seed)) for seed in params.run.seeds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
