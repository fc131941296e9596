"""A source is one file: the one of docs/real-data.md, put into `apo_bench/sources/`, is known by its name and prepares."""

import json
import re
import shutil
from pathlib import Path

import pytest

import apo_bench.sources
from apo_bench.config.params import load_params
from apo_bench.config.plugins import modules
from apo_bench.core.errors import ConfigError, DataError

SECTION = """prepare:
  source: shp
  folder: {folder}
  forums: [askculinary, legaladvice]
  seed: 0
  validation_fraction: 0.1
  num_rm_prompts: 10
  num_lm_prompts: 10
  num_game_prompts: 4
  num_further_pairs: 0
  num_validation_prompts: 2
  num_test_pairs: 8
  num_test_prompts: 6
  golden: {{source: chosen}}
"""


@pytest.fixture
def profile(root, tmp_path, monkeypatch) -> Path:
    """The params of the profile `preferences` with SHP for their data, beside a package of sources with SHP's file."""
    package = tmp_path / "sources"
    shutil.copytree(root / "apo_bench/sources", package, ignore=shutil.ignore_patterns("__pycache__"))
    [code] = re.findall(r"```python\n(.*?class SHP.*?)```", (root / "docs/real-data.md").read_text(), flags=re.DOTALL)
    (package / "shp.py").write_text(code)
    monkeypatch.setattr(apo_bench.sources, "__path__", [str(package)])
    for forum in ("askculinary", "legaladvice"):
        (tmp_path / forum).mkdir()
        for split, count in (("train", 40), ("test", 10)):
            rows = [
                {"history": f"{forum} {split} {n}?", "human_ref_A": "Yes.", "human_ref_B": "No.", "labels": n % 2} for n in range(count)
            ]
            (tmp_path / forum / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = (root / "profiles/preferences/params.yaml").read_text()
    changed = re.sub(r"^prepare:\n(?:[ #].*\n|\n)*", SECTION.format(folder=tmp_path), text, flags=re.MULTILINE)
    (tmp_path / "params.yaml").write_text(changed)
    return tmp_path / "params.yaml"


def test_its_section_is_known_and_its_records_are_made(profile):
    data = load_params(profile).prepare
    files, report = data.prepare()
    assert list(data.kinds) == ["askculinary", "legaladvice"] and data.kinds["legaladvice"].prompts == "questions to r/legaladvice"
    assert {row["subset"] for row in files["pairs_rm"]} == set(data.kinds)
    by_label = {row["dialogue"]: row["chosen"] for row in files["pairs_test"]}
    assert all(chosen == ("Yes." if int(dialogue.split("?")[0].split()[-1]) % 2 else "No.") for dialogue, chosen in by_label.items())
    assert sum(report["num_read"].values()) == 100 and len(by_label) == 8
    assert data.fetch() == "" and load_params(profile).heads(load_params(profile).base_reward) == ()


def test_its_own_keys_and_files_are_checked(profile, tmp_path):
    text = profile.read_text()
    profile.write_text(text.replace("forums:", "forum:"))
    with pytest.raises(ConfigError, match=r"prepare.forum: unknown key; did you mean forums"):
        load_params(profile)
    profile.write_text(text)
    (tmp_path / "legaladvice/test.jsonl").write_text('{"history": "Q?"}\n')
    with pytest.raises(DataError, match=r"legaladvice/test.jsonl:1: "):
        load_params(profile).prepare.prepare()


def test_what_is_no_source_has_the_near_name(profile):
    assert "shp" in modules("apo_bench.sources")
    profile.write_text(profile.read_text().replace("source: shp", "source: sph"))
    with pytest.raises(ConfigError, match=r"prepare.source: found 'sph', .*did you mean shp"):
        load_params(profile)
