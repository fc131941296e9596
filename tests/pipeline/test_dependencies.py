"""dvc.yaml's deps cover the code that stages import, so that a change of code re-runs what it can change."""

import ast
import re
from pathlib import Path

import pytest
from stages_file import written_stages

ROOT = Path(__file__).parents[2]
STAGES = written_stages(ROOT)
SCHEMA = ROOT / "apo_bench/config"
"""Stands in no deps: what stages read of params stands in their `params`, which test_end_to_end.py holds to what they read."""


def module_file(name: str) -> Path | None:
    """The file of a module of this project, None for others."""
    path = ROOT / Path(*name.split("."))
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    return path / "__init__.py" if (path / "__init__.py").is_file() else None


def imported_files(file: Path) -> set[Path]:
    """The project's files that a file imports, directly or through others."""
    found: set[Path] = set()
    waiting = [file]
    while waiting:
        for node in ast.walk(ast.parse(waiting.pop().read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                imported = module_file(name) if name.split(".")[0] in ("apo_bench", "pipeline") else None
                if imported and imported not in found:
                    found.add(imported)
                    waiting.append(imported)
    return found


@pytest.mark.parametrize("name", STAGES)
def test_deps_cover_the_imports(name: str) -> None:
    stage = STAGES[name]
    script = ROOT / "pipeline/stages" / (re.search(r"-m pipeline (\w+)", stage["cmd"]).group(1) + ".py")
    deps = [ROOT / dep.removeprefix("${root}/") for dep in stage["deps"] if dep.startswith("${root}/")]
    needed = {file for file in {script, *imported_files(script)} if file.stat().st_size > 200 or file.name != "__init__.py"}
    needed = {file for file in needed if SCHEMA not in file.parents}
    uncovered = {str(file.relative_to(ROOT)) for file in needed if not any(file == dep or dep in file.parents for dep in deps)}
    assert uncovered <= {"apo_bench/__init__.py"}, f"{name} imports {uncovered} that stand not in its deps"


def test_the_schema_of_params_stands_in_no_deps() -> None:
    """A new key of a section would re-run everything."""
    assert [name for name, stage in STAGES.items() if any("apo_bench/config" in dep for dep in stage["deps"])] == []


@pytest.mark.parametrize("source", sorted((ROOT / "apo_bench/sources").glob("[!_]*.py")), ids=lambda file: file.stem)
def test_prepare_hangs_on_its_source_and_what_that_imports(source: Path) -> None:
    """A source is imported by its name, and no stage but this one depends on its file."""
    deps = [dep.removeprefix("${root}/").replace("${prepare.source}", source.stem) for dep in STAGES["prepare"]["deps"]]
    needed = {file for file in {source, *imported_files(source)} if file.stat().st_size > 200 or file.name != "__init__.py"}
    needed = {file for file in needed if SCHEMA not in file.parents}
    assert not {file for file in needed if not any(file == ROOT / dep or ROOT / dep in file.parents for dep in deps)}
    assert not [name for name, stage in STAGES.items() if name != "prepare" and any("apo_bench/sources" in dep for dep in stage["deps"])]


def test_compare_hangs_on_what_all_stages_say_of_themselves() -> None:
    """It imports them by the names that dvc.lock has, to tell the steps of two arms."""
    assert "${root}/pipeline/stages" in STAGES["compare"]["deps"]


@pytest.mark.parametrize("name", STAGES)
def test_no_shell_stands_between_dvc_and_a_stage(name: str) -> None:
    assert STAGES[name]["cmd"].startswith("exec python -m pipeline "), "dash waits for its child and would survive a killed DVC"


@pytest.mark.parametrize("name", STAGES)
def test_deps_exist(name: str) -> None:
    for dep in STAGES[name]["deps"]:
        if dep.startswith("${root}/") and "${" not in dep.removeprefix("${root}/"):
            assert (ROOT / dep.removeprefix("${root}/")).exists(), dep


def test_methods_stand_in_no_stage_by_name_but_dpo_of_the_human_reference() -> None:
    text = (ROOT / "dvc.yaml").read_text()
    assert re.findall(r"apo_bench/methods/(\w+)\.py", text).count("base") > 0
    assert set(re.findall(r"apo_bench/methods/(\w+)\.py", text)) == {"base", "dpo"}


@pytest.mark.parametrize(
    ("code", "scripts"),
    [
        ("apo_bench/evaluation/policies.py", {"evaluate"}),
        ("apo_bench/evaluation/reward_models.py", {"evaluate_reward"}),
        ("apo_bench/metrics/calibration_error/calibration_error.py", {"evaluate_reward"}),
        ("apo_bench/judge/questions.py", {"judge", "judge_human"}),
        ("apo_bench/report/table.py", {"compare", "times"}),
    ],
)
def test_a_change_of_what_measures_samples_and_trains_nothing(code: str, scripts: set[str]) -> None:
    """What comes after runs only where its inputs have other bytes then."""
    deps = {name: [dep.removeprefix("${root}/") for dep in stage["deps"] if dep.startswith("${root}/")] for name, stage in STAGES.items()}
    hanging = {name for name, found in deps.items() if any(Path(code).is_relative_to(dep) for dep in found)}
    assert {STAGES[name]["cmd"].split()[4] for name in hanging} == scripts
