"""A section is added, and every other byte of params.yaml stays; so it does when DVC changes a value."""

from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from apo_bench.core.errors import ConfigError
from apo_bench.scaffold.sections import with_section

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
    "others": [],
}
TEXT = """\
  mine:
    learning_rates:
    - 2.0e-4
    - 9.0e-7
    beta: 0.1
    gamma: 2.5e-5
    delta: 0.0
    count: 3
    flag: true
    nothing:
    kind: 'a: b'
    others: []
"""
FILES = [ROOT / "params.yaml", *sorted((ROOT / "profiles").glob("*/params.yaml"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_a_section_is_added_and_read_back(path):
    before, after = path.read_text(), with_section(path, "methods", "mine", VALUES)
    assert after.count(TEXT) == 1 and after.replace(TEXT, "") == before
    loaded = yaml.safe_load(after)
    assert loaded["methods"].pop("mine") == VALUES
    assert loaded == yaml.safe_load(before)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
@pytest.mark.parametrize("key", ["methods.rjs.epochs", "methods.mine.count"])
def test_dvc_changes_the_value_and_nothing_else(path, key, tmp_path):
    """As `dvc exp run -S` writes params.yaml: it breaks long braces, turns lists in brackets into lines and drops what follows a list."""
    copy = tmp_path / "params.yaml"
    copy.write_text(with_section(path, "methods", "mine", VALUES))
    before = copy.read_text().splitlines()
    apply_overrides(copy, [f"{key}=77"])
    changed = [lines for lines in zip(before, copy.read_text().splitlines(), strict=True) if lines[0] != lines[1]]
    name = key.rpartition(".")[2]
    assert len(changed) == 1 and changed[0][0].lstrip().startswith(f"{name}: ") and changed[0][1].lstrip() == f"{name}: 77"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("methods:\n    a: {x: 1}", "methods:\n    a: {x: 1}\n    mine:\n      y: 1\n"),
        ("methods:\n  a:\n    x: 1   # one\n\n# next\nrun: 1\n", "methods:\n  a:\n    x: 1   # one\n  mine:\n    y: 1\n\n# next\nrun: 1\n"),
        ("methods:\n  a: {x: 1}\n  # of a\nrun: 1\n", "methods:\n  a: {x: 1}\n  # of a\n  mine:\n    y: 1\nrun: 1\n"),
    ],
)
def test_layouts(tmp_path, before, after):
    (tmp_path / "params.yaml").write_text(before)
    assert with_section(tmp_path / "params.yaml", "methods", "mine", {"y": 1}) == after


@pytest.mark.parametrize(
    ("text", "said"), [("methods:\n  mine: {}\n", "methods.mine exists"), ("methods: {a: {}}\n", "methods is written in braces")]
)
def test_refusals(tmp_path, text, said):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        with_section(tmp_path / "params.yaml", "methods", "mine", {})
