"""`make decide`: durations, seeds in params.yaml, what it says; and once for real, a very small study that is looked at twice."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from forked import run

from apo_bench.config.params import load_params
from apo_bench.core.errors import ConfigError
from pipeline.decide import budget_seconds, duration, enough_seeds, main, next_look, told, with_seeds

ROOT = Path(__file__).parents[2]
SIZES = {
    "num_rm_prompts": 16, "num_lm_prompts": 16, "num_game_prompts": 8, "num_further_pairs": 0, "num_validation_prompts": 4,
    "num_test_pairs": 16, "num_test_prompts": 12, "num_pretraining_examples": 64, "num_demonstrations": 16,
}  # fmt: skip


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("2h", 7200), ("1.5d", 129600), ("45s", 45)])
def test_budgets(text, seconds):
    assert budget_seconds(text) == seconds


@pytest.mark.parametrize("text", ["2", "h", "2 h", "two hours", "-1h", "0h", ""])
def test_budgets_that_are_none(text):
    with pytest.raises(ConfigError, match=r"budget: found .*, expected a duration such as 90m, 2h or 1.5d"):
        budget_seconds(text)


def test_durations_are_told_in_a_fitting_unit():
    assert [duration(seconds) for seconds in (5, 80, 90, 5399, 5400)] == ["5 s", "80 s", "1.5 m", "90.0 m", "1.5 h"]


def test_seeds_change_and_nothing_else(root, tmp_path):
    file = tmp_path / "params.yaml"
    shutil.copy(root / "params.yaml", file)
    before, seeds = file.read_text().splitlines(), load_params(file).run.seeds
    more = enough_seeds(seeds, len(seeds) + 2)
    assert more == [*seeds, max(seeds) + 1, max(seeds) + 2] and enough_seeds([3, 1], 3) == [3, 1, 4]
    file.write_text(with_seeds(file, more))
    after = file.read_text().splitlines()
    where = next(number for number, line in enumerate(before) if line.startswith("  seeds: ")) + 1 + len(seeds)
    assert after == [*before[:where], f"  - {more[-2]}", f"  - {more[-1]}", *before[where:]] and load_params(file).run.seeds == more


@pytest.mark.parametrize(
    ("num_seeds", "is_run", "expected"),
    [(5, True, 6), (6, False, 6), (6, True, 12), (7, False, 12), (12, True, None), (20, False, None)],
)
def test_the_next_look(params, num_seeds, is_run, expected):
    run = params.run.model_copy(update={"seeds": list(range(num_seeds))})
    claims = params.claims.model_copy(update={"looks": [6, 12]})
    assert next_look(params.model_copy(update={"run": run, "claims": claims}), is_run) == expected


def test_what_is_told():
    claims = {
        "C1": {"verdict": "reproduced", "p": 0.01, "num_seeds_needed": None},
        "C2": {"verdict": "undecided", "p": 0.5, "num_seeds_needed": 31},
        "C3": {"verdict": "undecided", "p": 0.9, "num_seeds_needed": None},
        "C4": {"verdict": "not tested", "p": None, "num_seeds_needed": None},
    }
    summary = {"primary": "gold", "families": {"gold": claims, "RM_all": {"C1": claims["C2"]}}}
    assert list(told(summary)) == ["C1 reproduced.", "Open: C2 (about 31 seeds); C3 (no number would do)."]
    summary["families"]["gold"] = {"C1": claims["C1"], "C4": claims["C4"]}
    assert list(told(summary)) == ["C1 reproduced.", "Nothing is open."]


def test_looks_must_be_stated(root, tmp_path, monkeypatch, capsys):
    shutil.copy(root / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["2h"]) == 1 and "claims.looks: [], one look alone; state the numbers of seeds" in capsys.readouterr().err
    assert main([]) == 1 and "budget: found nothing, expected one duration" in capsys.readouterr().err


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A profile at very small sizes, with two arms of one round and two looks."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["root"] = root = os.path.relpath(ROOT, folder)
    params["prepare"] |= SIZES | {"folder": f"{root}/apo_bench/data/corpus"}
    params["base_model"] |= {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "intermediate_size": 64, "vocab_size": 400}
    params["sampling"]["train"] |= {"num_samples": 2, "max_new_tokens": 16}
    params["sampling"]["test"] |= {"max_new_tokens": 16}
    kinds = {
        "reward_models": ["base", "adversarial"],
        "fixed_reward_models": ["base"],
        "gold_reward_models": [],
        "sft_start_reward_models": ["base", "adversarial"],
    }
    params["run"] |= {"methods": ["rjs"], "later_rounds": [], "seeds": [0], **kinds}
    params["judge"] |= {"rounds": [], "seeds": [], "human_pairs": [], "templates": f"{root}/apo_bench/judge/templates"}
    params["game"]["seeds"] = []
    params["compare"] |= {"num_bootstrap_draws": 1000, "num_shown_prompts": 2}
    params["claims"] |= {"min_seeds": 3, "looks": [3, 4]}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    assert run(folder, "dvc", "init", "--no-scm", "--quiet").returncode == 0
    return folder


def decide(workspace, budget):
    return run(workspace, sys.executable, "-m", "pipeline.decide", budget)


def test_a_study_is_looked_at_until_its_last_look(workspace):
    """One seed becomes three and then four; what ran for the first look does not run for the second; then nothing is left to do."""
    done = decide(workspace, "1h")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    said = [line for line in done.stdout.splitlines() if line.startswith("decide: ")]
    assert re.fullmatch(r"decide: the look at 3 seeds takes 3 more: how long is not known yet; (59\.\d|60\.0) m are left", said[0])
    assert any(line.startswith("decide: after 3 seeds: ") for line in said)
    ran = [line.split() for line in done.stdout.splitlines() if line.startswith("repro: ")]
    summary = json.loads((workspace / "report/summary.json").read_text())
    claims = summary["claims"]["families"]["gold"].values()
    if any(claim["verdict"] == "undecided" for claim in claims):  # else the second look was not needed
        assert summary["claims"]["num_seeds"] == 4 and said[-1] == "decide: 4 seeds are the last look; what is open stays so"
        (_, of_first), (second, of_second) = ((int(words[1]), int(words[3])) for words in ran)
        assert second == of_second - of_first + 3  # compare, times and track again
    params = load_params(workspace / "params.yaml")
    assert params.run.seeds == list(range(summary["claims"]["num_seeds"]))
    again = decide(workspace, "1h")
    assert again.returncode == 0 and "repro:" not in again.stdout


def test_a_look_that_would_overrun_the_budget_is_not_begun(workspace):
    """After the study above: a further look, at far more seeds than a minute has room for."""
    file = workspace / "params.yaml"
    params = yaml.safe_load(file.read_text())
    params["claims"]["looks"] = [len(params["run"]["seeds"]), 400]
    file.write_text(yaml.safe_dump(params, sort_keys=False))
    done = decide(workspace, "1m")
    seeds = params["run"]["seeds"]
    assert done.returncode == 0 and done.stdout.count("repro:") == 1  # the comparison, which has other looks now
    said = [line for line in done.stdout.splitlines() if line.startswith("decide: ")]
    assert (
        said[-2].startswith(f"decide: the look at 400 seeds takes {400 - len(seeds)} more: about ") and "evaluation not counted" in said[-2]
    )
    assert said[-1] == "decide: that is more than is left, so here it ends"
    assert load_params(file).run.seeds == seeds
