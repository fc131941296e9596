"""Processes that must not outlive the one they work for."""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SCRATCH = "apo-bench-"
PARENT_VARIABLE = "APO_BENCH_PARENT"
"""Environment variable: the process that starts a stage, which must not outlive it. A stage takes it out."""

HELD_BACK = (signal.SIGINT, signal.SIGTERM)
AGAIN_SECONDS = 0.05
"""After an interrupt that nobody could catch."""
_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>


def die_with_parent() -> None:
    """Asks the kernel to kill this process when its parent dies, so that a killed parent leaves no child that works on (Linux only)."""
    if sys.platform != "linux":
        return
    parent = int(os.environ.pop(PARENT_VARIABLE, os.getppid()))  # it may have died before this process could ask who it is
    ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel knew
        os._exit(1)


def interrupted_by_signals() -> None:
    """Has Ctrl-C and SIGTERM raise KeyboardInterrupt from now on, and once more where it is lost: Python only prints what is raised in a
    destructor or in a callback of a weak reference, and the program would go on."""
    for number in (*HELD_BACK, signal.SIGALRM):
        signal.signal(number, signal.default_int_handler)
    show = sys.unraisablehook

    def raise_again(lost: "sys.UnraisableHookArgs") -> None:
        if isinstance(lost.exc_value, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        else:
            show(lost)

    sys.unraisablehook = raise_again


@contextmanager
def undisturbed() -> Iterator[None]:
    """Holds Ctrl-C and SIGTERM back while the block lasts. Processes that are started inside it get them when they have said what either is
    to do and unblock `HELD_BACK`, and so have no moment in which one ends them with a traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ended_by(number: int) -> str:
    """What is said of a stage that a signal ended."""
    name = signal.Signals(number).name if number in {*signal.Signals} else f"signal {number}"
    return f"ended by {name}; if memory ran out, run fewer stages at a time"


def scratch_prefix() -> str:
    """How the names of this process's temporary folders begin, so that another can tell whether they are still wanted."""
    return f"{SCRATCH}{os.getpid()}-"


def has_ended(pid: int, seen: float) -> bool:
    """Whether a process that was there at the time `seen`, in seconds since the epoch, has ended; another may have its number now."""
    import psutil

    try:
        return psutil.Process(pid).create_time() > seen + 1 or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
