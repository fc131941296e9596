"""Seconds of stages: measured with child processes, and a file that is broken is named."""

import subprocess
import sys

import pytest

from apo_bench.core.errors import DataError
from apo_bench.core.files import write_json
from apo_bench.provenance.times import SECONDS, Stopwatch, read_seconds


def test_seconds_of_processors_include_child_processes():
    watch = Stopwatch()
    subprocess.run(
        [sys.executable, "-c", "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass"], check=True
    )
    seconds = watch.seconds(2)
    assert seconds["cpu_seconds"] >= 0.4 and seconds["wall_seconds"] >= 0.4
    assert watch.seconds(0)["gpu_seconds"] == 0.0
    assert seconds["gpu_seconds"] == pytest.approx(2 * seconds["wall_seconds"], abs=0.002)


@pytest.mark.parametrize("content", [{}, [], dict.fromkeys(SECONDS, "1"), {SECONDS[0]: 1.0}])
def test_a_broken_file_of_seconds_is_named(tmp_path, content):
    file = tmp_path / "out/times/sft.json"
    write_json(file, dict.fromkeys(SECONDS, 1.5))
    assert read_seconds(file) == dict.fromkeys(SECONDS, 1.5)
    write_json(file, content)
    with pytest.raises(DataError, match=r"times/sft.json: expected the numbers wall_seconds, cpu_seconds, gpu_seconds; run the stage"):
        read_seconds(file)
