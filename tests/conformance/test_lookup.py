"""A method is found by the section of the params at hand, or of a profile that has one."""

import shutil

import pytest

from apo_bench.conformance.lookup import find_method
from apo_bench.core.errors import ConfigError


@pytest.mark.parametrize("name", ["rjs", "rrhf", "dpo", "ipo", "simpo", "kto", "rloo"])
def test_every_method_is_found_at_the_root(root, name):
    assert type(find_method(name, root / "params.yaml")).__module__ == f"apo_bench.methods.{name}"


def test_the_section_at_hand_comes_first(root, tmp_path):
    shutil.copytree(root / "profiles/tiny-full", tmp_path / "profiles/tiny-full")
    text = (root / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("beta: 0.1\n", "beta: 0.7\n", 1))
    assert find_method("dpo", tmp_path / "params.yaml").hyperparameters.beta == 0.7
    assert find_method("dpo", tmp_path / "profiles/tiny-full/params.yaml").hyperparameters.beta == 0.1


@pytest.mark.parametrize(("name", "said"), [("simpl", "did you mean simpo"), ("mine.methods.nowhere", "mine")])
def test_what_is_not_there_is_named(root, name, said):
    with pytest.raises(ConfigError, match=said):
        find_method(name, root / "params.yaml")
