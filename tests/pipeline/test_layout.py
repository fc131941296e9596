"""dvc.yaml has the paths of the layout: every dep and out of every stage of every profile is one that its coordinates lead to."""

import importlib
import inspect
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from stages_file import with_own_models, written_stages

from apo_bench.config.params import Params, load_params
from apo_bench.core.layout import times_file
from apo_bench.core.stage import Stage
from apo_bench.provenance.budgets import COUNTS
from apo_bench.stages import runs_of, stage_index

ROOT = Path(__file__).parents[2]
WITH_OWN = "with models of one's own"
PROFILES = ["tiny", WITH_OWN, *sorted(folder.name for folder in (ROOT / "profiles").iterdir())]


def stages_of(folder: Path, profile: str) -> tuple[Params, list[Any]]:
    """The stages of one replicate as DVC reads them, in a folder that holds nothing else; others differ in the seed alone."""
    shutil.copy(ROOT / "dvc.yaml", folder)
    own = ROOT / "profiles" / profile / "params.yaml"
    raw = yaml.safe_load((own if own.is_file() else ROOT / "params.yaml").read_text())
    for section in ("run", "judge", "game"):
        raw[section]["seeds"] = [7] if raw[section]["seeds"] else []
    (folder / "params.yaml").write_text(yaml.safe_dump(with_own_models(raw) if profile == WITH_OWN else raw))
    params = load_params(folder / "params.yaml")
    return params, list(stage_index().stages)


def files_of(command: str) -> tuple[str, Any]:
    """The name of a stage's script and its files, by the options of its command."""
    words = shlex.split(command)
    assert words[:4] == ["exec", "python", "-m", "pipeline"]
    words += ["true"] * (len(words) % 2 == 0)  # a flag stands last
    options = {name.removeprefix("--").replace("-", "_"): value for name, value in zip(words[5::2], words[6::2], strict=True)}
    files = importlib.import_module(f"pipeline.stages.{words[4]}").files
    kinds = {name: parameter.annotation for name, parameter in inspect.signature(files).parameters.items()}
    return words[4], files(**{name: kinds[name](value) for name, value in options.items()})


def stage_of(script: str) -> Stage:
    """What a stage says of itself."""
    return importlib.import_module(f"pipeline.stages.{script}").STAGE


@pytest.mark.parametrize("profile", PROFILES)
def test_deps_and_outs_are_those_of_the_layout(profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    params, stages = stages_of(tmp_path, profile)
    given = {params.prepare.folder, params.base_model.folder, params.judge.templates}
    given |= {model.folder for own in (params.references.own, params.own_reward_models) for model in own.values()}
    for stage in stages:
        script, files = files_of(stage.cmd)
        declared = stage_of(script)
        code = re.compile(rf"{re.escape(params.root)}/(apo_bench|pipeline)/|(apo_bench|pipeline)/")
        deps = {dep.def_path for dep in stage.deps if dep not in stage.params and not code.match(dep.def_path)}
        reads = {path.as_posix() for path in files.reads.values()}
        assert deps - given == reads - given, stage.addressing
        seconds = {times_file(files.writes["results"]).as_posix()} if declared.counts else set()
        assert {out.def_path for out in stage.outs} == {path.as_posix() for path in files.writes.values()} | seconds, stage.addressing


def test_stages_run_what_their_params_say() -> None:
    """Schedules and plans are made by the params of dvc.yaml, records by what the module says."""
    for name, stage in written_stages(ROOT).items():
        declared = stage_of(stage["cmd"].split()[4])
        assert runs_of({*stage.get("params", [])}) == declared.runs, name
        assert set(declared.counts) <= set(COUNTS), name


def test_no_line_is_longer_than_a_screen_is_wide() -> None:
    assert [line for line in (ROOT / "dvc.yaml").read_text().splitlines() if len(line) > 140] == []


NAMES = "arms|first|references|reward|sample|score|align|policy|evaluation|game"
SPELLED = re.compile(rf"""/ ?f?["'](?:{NAMES})["'/]|/(?:arms|first|references)/|["']out/""")
"""A path that is joined of what the layout names, or has it in the middle."""


def test_nobody_else_spells_a_path_of_a_run() -> None:
    found = set()
    for file in (file for package in ("apo_bench", "pipeline") for file in (ROOT / package).rglob("*.py")):
        code = re.sub(r'"""(?s:.*?)"""|#[^\n]*', "", file.read_text())
        if SPELLED.search(code):
            found.add(file.relative_to(ROOT).as_posix())
    assert found == {"apo_bench/core/layout.py"}
