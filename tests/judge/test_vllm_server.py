"""The guard of the server that a stage starts: nothing of it outlives the stage. Serving itself is measured in docs/judge.md."""

import subprocess
import sys
import time

import psutil

from apo_bench.judge.vllm_server import GUARDED, _last_error

HASTY = GUARDED.replace("sleep 5;", "sleep 0.5;")
"""The guard, with a tenth of its patience."""
STUBBORN = (
    "import signal, subprocess, time; signal.signal(15, signal.SIG_IGN); subprocess.Popen(['sleep', '99']); print(1, flush=True);"
    "time.sleep(99)"
)


def stubborn() -> subprocess.Popen:
    """A guarded process that does not end on SIGTERM, and that has started another."""
    command = ["sh", "-c", HASTY, "sh", sys.executable, "-c", STUBBORN]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    process.stdout.readline()
    return process


def ended(processes: list[psutil.Process], seconds: float = 15) -> bool:
    return not psutil.wait_procs(processes, timeout=seconds)[1]


def test_the_server_and_what_it_started_end_when_the_stage_lets_go():
    process = stubborn()
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    assert len(family) >= 3
    process.stdin.close()
    process.wait(15)
    assert ended(family)


def test_they_end_when_the_stage_is_killed():
    code = (
        f"import subprocess, sys; p = subprocess.Popen(['sh', '-c', {HASTY!r}, 'sh', sys.executable, '-c', {STUBBORN!r}],"
        "stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True); p.stdout.readline(); print(p.pid, flush=True); p.wait()"
    )
    stage = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    server = psutil.Process(int(stage.stdout.readline()))
    family = [server, *server.children(recursive=True)]
    stage.kill()
    stage.wait()
    assert ended(family)


def test_a_server_that_ends_by_itself_is_noticed_with_its_last_error(tmp_path):
    script = "import sys; print('INFO ok'); print('ValueError: no model x', file=sys.stderr); print('bye', file=sys.stderr); sys.exit(3)"
    with (tmp_path / "log").open("w+b") as log:
        command = ["sh", "-c", GUARDED, "sh", sys.executable, "-c", script]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 15
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert process.returncode == 3
        assert _last_error(log) == "ValueError: no model x"
        process.stdin.close()
