"""How far a run is and how long the rest takes, counted by hand on a clock that the test winds."""

import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from apo_bench.provenance.times import SECONDS
from pipeline import progress
from pipeline.progress import LOG_SECONDS, TERMINAL_SECONDS, Progress

ORDER = ["sample@0", "sample@1", "sample@2", "align@0", "align@1", "align@2", "evaluate@0", "compare"]
PARENTS = {
    **{f"sample@{number}": set() for number in range(3)},
    **{f"align@{number}": {f"sample@{number}"} for number in range(3)},
    "evaluate@0": {"align@0"},
    "compare": {"evaluate@0", "align@1", "align@2"},
}


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(progress, "time", found := Clock())
    return found


def stages(**times: str) -> dict[str, SimpleNamespace]:
    """As DVC has them: with what they leave behind."""
    return {
        name: SimpleNamespace(outs=[SimpleNamespace(def_path=path) for path in ["out/a", *filter(None, [times.get(name)])]])
        for name in ORDER
    }


def test_seconds_left_are_those_of_similar_stages_that_have_ended(clock):
    run = Progress(stages(), ORDER, PARENTS, 1, io.StringIO())
    assert run.text() == "repro: 0 of 8 stages, no telling yet how long the others take"
    run.start("sample@0")
    run.start("sample@1")
    clock.now += 10
    run.end("sample@0")
    run.start("align@0")
    clock.now += 20
    run.end("align@0")
    assert run.seconds_left() == 0 + 10 + 20 + 20 + 15 + 15, "sample@1 is overdue; nothing is known of evaluate and compare but the mean"
    assert run.text() == "repro: 2 of 8 stages, about 80 s left"


def test_no_less_than_the_longest_chain(clock):
    run = Progress(stages(), ORDER, PARENTS, 100, io.StringIO())
    for name, seconds in (("sample@0", 10), ("align@0", 20), ("evaluate@0", 3)):
        run.start(name)
        clock.now += seconds
        run.end(name)
    assert run.seconds_left() == 10 + 20 + (10 + 20 + 3) / 3, "a sample, an align and compare"
    for name in ORDER:
        if name not in ("sample@0", "align@0", "evaluate@0"):
            run.start(name)
            run.end(name)
    assert run.seconds_left() == 0.0 and run.text() == "repro: 8 of 8 stages, about 0 s left"


def test_what_ran_before_is_known_from_the_start(tmp_path, monkeypatch, clock):
    monkeypatch.chdir(tmp_path)
    first, second = (json.dumps(dict.fromkeys(SECONDS, seconds)) for seconds in (300.0, 500.0))
    for name, content in (("first", first), ("second", second), ("third", "{")):
        Path("out/times").mkdir(parents=True, exist_ok=True)
        Path(f"out/times/{name}.json").write_text(content)
    times = {"sample@0": "out/times/first.json", "sample@1": "out/times/second.json", "align@0": "out/times/third.json"}
    run = Progress(stages(**times), ORDER, PARENTS, 1, io.StringIO())
    assert run.text() == f"repro: 0 of 8 stages, about {400 * 8 / 60:.1f} m left", "what is broken or not there is not known"
    run.start("sample@2")
    clock.now += 40
    run.end("sample@2")
    assert run.seconds_left() == 7 * 40, "this run knows better than the last"


def test_a_line_now_and_then_in_a_log(clock):
    out = io.StringIO()
    run = Progress(stages(), ORDER, PARENTS, 2, out)
    assert run.interval == LOG_SECONDS
    for _ in range(61):
        clock.now += 1
        run.show()
    run.close()
    assert out.getvalue() == 2 * "repro: 0 of 8 stages, no telling yet how long the others take\n"


def test_one_line_on_a_terminal_below_the_bars(clock):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    run = Progress(stages(), ORDER, PARENTS, 2, out)
    assert run.interval == TERMINAL_SECONDS
    clock.now += 1.5
    run.show()
    assert "\n\n\rrepro: 0 of 8 stages" in out.getvalue() and out.getvalue().endswith("\x1b[A\x1b[A"), (
        "the third line, and back to the first"
    )
    run.close()
    assert re.search(r"\n\n\r +\x1b\[A\x1b\[A$", out.getvalue()), "and taken off it"
