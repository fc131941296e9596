"""How far a run is: stages that have ended, of all that it has to see to, and about how long the others will take."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import Any, TextIO

from tqdm import tqdm

from apo_bench.core.errors import ApoBenchError
from apo_bench.core.layout import TIMES, is_in
from apo_bench.provenance.times import WALL, read_seconds

LOG_SECONDS, TERMINAL_SECONDS = 30.0, 1.0
"""Between two lines in a log, and between two states of the line on a terminal."""
UNITS = {"h": 3600, "m": 60, "s": 1}


def duration(seconds: float) -> str:
    """In the largest unit that leaves more than one of it."""
    unit = next((name for name in ("h", "m") if seconds >= 1.5 * UNITS[name]), "s")
    return f"{seconds / UNITS[unit]:.{0 if unit == 's' else 1}f} {unit}"


class Progress:
    """A line below the bars of the stages or, in a log, one twice a minute."""

    def __init__(
        self, stages: Mapping[str, Any], order: Sequence[str], parents: Mapping[str, Set[str]], num_places: int, out: TextIO
    ) -> None:
        """Args:
        stages: what DVC knows of each stage; those that ran before are taken to last as long as then.
        order: the stages of the run, parents before children.
        parents: what each waits for.
        num_places: how many run side by side; bars of stages have as many lines.
        out: the terminal or the log.
        """
        self._order, self._parents, self._num_places, self._out = order, parents, num_places, out
        self._seconds: dict[str, list[float]] = defaultdict(list)
        """Of stages of each kind, in this run."""
        self._before = _recorded_seconds({name: stages[name] for name in order})
        self._started: dict[str, float] = {}
        self._left = set(order)
        is_terminal = out.isatty()
        self.interval = TERMINAL_SECONDS if is_terminal else LOG_SECONDS
        self._next = time.monotonic() + self.interval
        self._bar = tqdm(total=len(order), position=num_places, bar_format="{desc}", leave=False, file=out) if is_terminal else None

    def start(self, name: str) -> None:
        """A stage has started."""
        self._started[name] = time.monotonic()

    def end(self, name: str) -> None:
        """It has ended."""
        self._seconds[_kind(name)].append(time.monotonic() - self._started.pop(name))
        self._left.remove(name)

    def show(self) -> None:
        """Shows how far the run is, if it is time to."""
        if time.monotonic() < self._next:
            return
        if self._bar is not None:
            self._bar.set_description_str(self.text())
        else:
            print(self.text(), file=self._out, flush=True)
        self._next = time.monotonic() + self.interval

    def close(self) -> None:
        """Takes the line off the terminal."""
        if self._bar is not None:
            self._bar.close()

    def text(self) -> str:
        """For example `repro: 12 of 777 stages, about 14.2 m left`."""
        left = self.seconds_left()
        return f"repro: {len(self._order) - len(self._left)} of {len(self._order)} stages, " + (
            "no telling yet how long the others take" if left is None else f"about {duration(left)} left"
        )

    def seconds_left(self) -> float | None:
        """What similar stages took, over the places, but no less than the longest chain; None while nothing is known of any."""
        known = {kind: fmean(seconds) for kind, seconds in (self._before | self._seconds).items()}
        if not known:
            return None
        other, now = fmean(known.values()), time.monotonic()
        chain: dict[str, float] = defaultdict(float)
        """From the start of each stage to the end of all that wait for it."""
        total = 0.0
        for name in reversed(self._order):
            if name not in self._left:
                continue
            own = known.get(_kind(name), other)
            if name in self._started:
                own = max(0.0, own - (now - self._started[name]))
            total += own
            chain[name] += own
            for parent in self._parents[name]:
                chain[parent] = max(chain[parent], chain[name])
        return max(total / self._num_places, max(chain[name] for name in self._left)) if self._left else 0.0


def _kind(name: str) -> str:
    return name.partition("@")[0]


def _recorded_seconds(stages: Mapping[str, Any]) -> dict[str, list[float]]:
    """Of stages of each kind that ran before; what cannot be read is not known."""
    found: dict[str, list[float]] = defaultdict(list)
    for name, stage in stages.items():
        for out in stage.outs:
            if is_in(out.def_path, TIMES):
                with suppress(ApoBenchError):
                    seconds = read_seconds(Path(out.def_path))[WALL]
                    found[_kind(name)].append(seconds)
    return found
