"""Which of several failures is to blame, and that a launch that fails ends in a line that says why."""

import json
import os
import signal
import socket
import sys
from types import SimpleNamespace

import pytest

from apo_bench.config.compute_sections import TrainingEngine
from apo_bench.core.errors import EngineError, is_out_of_memory
from apo_bench.engines.hosts import REMOTE_SHELL_VARIABLE, Host
from apo_bench.engines.launch import PORT_VARIABLE, describe, launch
from apo_bench.engines.memory import memory_error
from apo_bench.engines.node import _describe

HOSTS = ["node-a", "node-b"]
LOST = {"kind": "lost", "host": 0, "rank": 0, "line": "failed with RuntimeError: gloo: Connection closed by peer", "trace": "Traceback"}


def failure(kind, line, host=1, rank=1, **more):
    return {"kind": kind, "host": host, "rank": rank, "line": line, **more}


@pytest.mark.parametrize(
    ("others", "line"),
    [
        ([failure("signal", "was ended by SIGSEGV")], "host node-b: rank 1 was ended by SIGSEGV"),
        ([failure("known", "RM: the loss became nan")], "host node-b: RM: the loss became nan"),
        ([{"kind": "host", "host": 1, "line": "ended with status 255 (no route)"}], "host node-b ended with status 255 (no route)"),
        (
            [failure("ended", "was ended by SIGTERM", host=0)],
            "host node-a: rank 0 failed with RuntimeError: gloo: Connection closed by peer",
        ),
        ([], "host node-a: rank 0 failed with RuntimeError: gloo: Connection closed by peer"),
    ],
)
def test_a_cause_comes_before_its_consequence(others, line):
    assert describe([LOST, *others], HOSTS) == line


def test_on_one_host_an_error_reads_as_without_ranks():
    assert describe([failure("known", "out/data: no such file", host=0)], ["localhost"]) == "out/data: no such file"


def test_what_a_crashed_rank_wrote_is_shown(capsys):
    assert describe([failure("unknown", "failed with KeyError: 'x'", trace="Traceback: x")], HOSTS) == (
        "host node-b: rank 1 failed with KeyError: 'x'"
    )
    assert "Traceback: x" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGTERM, "ended"), (signal.SIGABRT, "lost"), (signal.SIGKILL, "signal")])
def test_a_signal_says_whether_it_is_a_cause_and_what_was_written_before(tmp_path, number, kind):
    (tmp_path / "1").mkdir()
    (tmp_path / "1/stderr.log").write_text("terminate called")
    ended = SimpleNamespace(error_file_data={}, exitcode=-number, local_rank=1, signal_name=lambda: number.name)
    assert _describe(1, ended, tmp_path) == {"kind": kind, "line": f"was ended by {number.name}", "trace": "terminate called", "rank": 1}


def test_memory_may_be_what_killed():
    assert "lower compute.micro_batch_tokens" in describe([failure("signal", "was ended by SIGKILL")], HOSTS)


def run(tmp_path, hosts=(Host("localhost", 1),), **environment):
    launch(["nothing"], list(hosts), TrainingEngine(), "cpu", tmp_path, {**os.environ, **environment})


def test_port_in_use_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=rf"^port {port} cannot be used \(Address already in use\); APO_BENCH_PORT may name another$"):
            run(tmp_path, **{PORT_VARIABLE: str(port)})


def test_port_must_be_a_number(tmp_path):
    with pytest.raises(EngineError, match=r"^APO_BENCH_PORT: found 'http', expected the number of a port$"):
        run(tmp_path, **{PORT_VARIABLE: "http"})


def test_host_that_cannot_be_reached_is_named_with_what_the_shell_said(tmp_path, monkeypatch):
    """The first host reports a port, the second's remote shell fails as ssh does."""
    monkeypatch.setattr("apo_bench.engines.launch.GRACE_SECONDS", 0.3)
    shell = tmp_path / "shell.py"
    report = "\x1eapo-bench " + json.dumps({"port": 1234})
    shell.write_text(
        f"import sys, time\nif sys.argv[1] == 'a':\n    print({report!r}, flush=True)\n    time.sleep(60)\nsys.exit('no route')\n"
    )
    with pytest.raises(EngineError, match=r"^host b ended with status 1 \(no route\)$"):
        run(tmp_path, [Host("a", 1), Host("b", 1)], **{REMOTE_SHELL_VARIABLE: f"{sys.executable} {shell}"})


def test_remote_shell_that_is_not_there_is_named(tmp_path):
    with pytest.raises(EngineError, match=r"^nosuchshell: cannot be started \(No such file or directory\); APO_BENCH_REMOTE_SHELL"):
        run(tmp_path, [Host("a", 1)], **{REMOTE_SHELL_VARIABLE: "nosuchshell -x"})


def test_out_of_memory_says_what_helps(params):
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert is_out_of_memory(caught.value) and not is_out_of_memory(RuntimeError("gloo"))
    assert str(memory_error(params)) == (
        "out of memory on cpu; what helps: compute.micro_batch_tokens or max_length lower, compute.gradient_checkpointing: true, "
        "engines.training: deepspeed"
    )
    engines = params.engines.model_copy(update={"training": "deepspeed"})
    compute = params.compute.model_copy(update={"device": "cuda", "gradient_checkpointing": True})
    assert "what helps: compute.stages_per_gpu below 8, compute.micro" in str(memory_error(params.model_copy(update={"compute": compute})))
    assert str(memory_error(params.model_copy(update={"engines": engines, "compute": compute}))) == (
        "out of memory on cuda; what helps: compute.micro_batch_tokens or max_length lower, engines.deepspeed.cpu_offload: true, "
        "more ranks on more devices or hosts"
    )
