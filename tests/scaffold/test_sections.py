"""A section is added as one line, and every other byte of params.yaml stays."""

from pathlib import Path

import pytest
import yaml

from apo_bench.core.errors import ConfigError
from apo_bench.scaffold.sections import with_method_section

ROOT = Path(__file__).parents[2]
VALUES = {
    "learning_rates": [2e-4, 9e-7],
    "beta": 0.1,
    "gamma": 2.5e-5,
    "delta": 0.0,
    "count": 3,
    "flag": True,
    "nothing": None,
    "kind": "a: b",
}
TEXT = 'learning_rates: [2.0e-4, 9.0e-7], beta: 0.1, gamma: 2.5e-5, delta: 0.0, count: 3, flag: true, nothing: null, kind: "a: b"'


@pytest.mark.parametrize(
    "path", [ROOT / "params.yaml", *sorted((ROOT / "profiles").glob("*/params.yaml"))], ids=lambda path: path.parent.name
)
def test_one_line_is_added_and_read_back(path):
    before, after = path.read_text(), with_method_section(path, "mine", VALUES)
    lines = after.splitlines(keepends=True)
    [line] = [line for line in lines if line.startswith("  mine: ")]
    lines.remove(line)
    assert "".join(lines) == before
    loaded = yaml.safe_load(after)
    assert loaded["methods"].pop("mine") == VALUES
    assert loaded == yaml.safe_load(before)
    assert line == f"  mine: {{{TEXT}}}\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("methods:\n    a: {x: 1}", "methods:\n    a: {x: 1}\n    mine: {y: 1}\n"),
        ("methods:\n  a:\n    x: 1   # one\n\n# next\nrun: 1\n", "methods:\n  a:\n    x: 1   # one\n  mine: {y: 1}\n\n# next\nrun: 1\n"),
        ("methods:\n  a: {x: 1}\n  # of a\nrun: 1\n", "methods:\n  a: {x: 1}\n  # of a\n  mine: {y: 1}\nrun: 1\n"),
    ],
)
def test_layouts(tmp_path, before, after):
    (tmp_path / "params.yaml").write_text(before)
    assert with_method_section(tmp_path / "params.yaml", "mine", {"y": 1}) == after


@pytest.mark.parametrize(
    ("text", "said"), [("methods:\n  mine: {}\n", "methods.mine exists"), ("methods: {a: {}}\n", "methods is written in braces")]
)
def test_refusals(tmp_path, text, said):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        with_method_section(tmp_path / "params.yaml", "mine", {})
