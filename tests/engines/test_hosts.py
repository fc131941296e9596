"""The hostfile: what it may say, and that a broken line is named."""

import pytest

from apo_bench.core.errors import EngineError
from apo_bench.engines.hosts import DEFAULT_REMOTE_SHELL, Host, hosts, remote_command


@pytest.fixture
def settings(params):
    return params.engines.deepspeed.model_copy(update={"num_processes": 4})


def read(settings, tmp_path, text):
    path = tmp_path / "hostfile"
    path.write_text(text)
    return hosts(settings.model_copy(update={"hostfile": str(path)}))


def test_without_a_hostfile_it_is_this_host(settings):
    assert hosts(settings) == [Host("localhost", 4)]


def test_hosts_are_in_the_order_of_the_file(settings, tmp_path):
    text = "# eight a node\nnode-b slots=8\n\n10.0.0.7   slots=2  # the small one\n"
    assert read(settings, tmp_path, text) == [Host("node-b", 8), Host("10.0.0.7", 2)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a slots=2\nb\n", r"hostfile:2: found 'b', expected HOST slots=N"),
        ("a slots=0\n", r"hostfile:1: found 'a slots=0', expected"),
        ("a slots=two\n", r"hostfile:1: found 'a slots=two', expected"),
        ("-oProxyCommand=x slots=1\n", r"hostfile:1: found '-oProxyCommand=x slots=1', expected"),
        ("a slots=1\nb slots=1\na slots=1\n", r"hostfile:3: a stands here twice"),
        ("# nothing\n", r"hostfile: no host"),
        ("localhost slots=1\nb slots=1\n", r"hostfile: localhost means another machine on each of the 2 hosts"),
    ],
)
def test_broken_file_names_the_line(settings, tmp_path, text, message):
    with pytest.raises(EngineError, match=message):
        read(settings, tmp_path, text)


def test_missing_file_is_named(settings):
    with pytest.raises(EngineError, match=r"^nowhere: cannot be read \(No such file or directory\); engines.deepspeed.hostfile names it"):
        hosts(settings.model_copy(update={"hostfile": "nowhere"}))


def test_only_other_hosts_need_a_remote_shell():
    command = ["env", "PYTHONPATH=/code", "python", "-m", "apo_bench.engines.node"]
    assert remote_command(Host("localhost", 1), command, DEFAULT_REMOTE_SHELL) == command
    assert remote_command(Host("node-b", 1), command, "ip netns exec") == ["ip", "netns", "exec", "node-b", *command]
