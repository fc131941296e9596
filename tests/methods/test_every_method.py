"""The conformance kit on every module of apo_bench/methods, a new one included, as params.yaml or the profile tiny-full sets it."""

from pathlib import Path

import yaml

from apo_bench.conformance.testing import conformance_test
from apo_bench.core.config import load_method

ROOT = Path(__file__).parents[2]
NAMES = sorted({file.stem for file in (ROOT / "apo_bench/methods").glob("*.py")} - {"__init__", "base"})
FILES = (ROOT / "profiles/tiny-full/params.yaml", ROOT / "params.yaml")
SECTIONS = {name: section for file in FILES for name, section in yaml.safe_load(file.read_text(encoding="utf-8"))["methods"].items()}

test_conforms = conformance_test(*[load_method(name, SECTIONS) for name in NAMES])
