"""The conformance kit on every module of apo_bench/methods, as params.yaml or the profile tiny-full sets it, and their pages."""

import re
from pathlib import Path

import pytest
import yaml

from apo_bench.config.plugins import load_method
from apo_bench.conformance.declarations import page_of
from apo_bench.conformance.samples import outcome, random_samples
from apo_bench.conformance.testing import conformance_test

ROOT = Path(__file__).parents[2]
NAMES = sorted({file.stem for file in (ROOT / "apo_bench/methods").glob("*.py")} - {"__init__", "base"})
FILES = (ROOT / "profiles/tiny-full/params.yaml", ROOT / "params.yaml")
SECTIONS = {name: section for file in FILES for name, section in yaml.safe_load(file.read_text(encoding="utf-8"))["methods"].items()}

test_conforms = conformance_test(*[load_method(name, SECTIONS) for name in NAMES])


@pytest.mark.parametrize("name", NAMES)
def test_a_method_has_all_its_code_in_its_file(name: str) -> None:
    """DVC runs a method again when its file, base.py or a lower layer changes, but not when another method does: import from none."""
    others = re.findall(r"apo_bench\.methods(?:\.| import )(\w+)", (ROOT / f"apo_bench/methods/{name}.py").read_text(encoding="utf-8"))
    assert set(others) <= {"base"}


@pytest.mark.parametrize("name", NAMES)
def test_page_explains_the_curves_and_no_others(name: str) -> None:
    method = load_method(name, SECTIONS)
    curves = page_of(method).read_text(encoding="utf-8").partition("**Curves**")[2].partition("\n- **")[0]
    assert set(re.findall(r"`([a-z_]+)`", curves)) == {"loss", *outcome(method, random_samples(method, 1)).metrics}
