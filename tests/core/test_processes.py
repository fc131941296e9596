"""What signals do to a process that is to end in order."""

import subprocess
import sys

LOST = """
import os, signal, time
from apo_bench.core.processes import interrupted_by_signals

class Closes:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        time.sleep(5)

interrupted_by_signals()
try:
    Closes()
    for _ in range(100):
        time.sleep(0.1)
    print("went on")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_that_a_destructor_swallows_comes_once_more_and_is_not_printed():
    for name in ("SIGINT", "SIGTERM"):
        run = subprocess.run([sys.executable, "-c", LOST.format(name=name)], capture_output=True, text=True, timeout=60, check=True)
        assert (run.stdout, run.stderr) == ("interrupted\n", "")


def test_other_lost_errors_are_printed_as_ever():
    program = LOST.replace("os.kill(os.getpid(), signal.{name})", "raise ValueError('in vain')").replace("range(100)", "range(1)")
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout == "went on\n" and "ValueError: in vain" in run.stderr
