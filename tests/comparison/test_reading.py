"""The comparison, on a results folder made by hand: four prompts, one method, two reward models, two rounds.

Gold of SFT is 1, 0 | 0, -1 (two helpful prompts | two harmless ones). The base arm adds 1 everywhere, so its mean is 1. The adversarial arm
adds 1 to that on each prompt, in round 2 on the helpful prompts only, where it takes 2 away from the harmless ones.
"""

import json
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from games import played
from lock_file import LockFile
from scipy import stats

from apo_bench.comparison.reading import read_comparison
from apo_bench.comparison.results import NEEDS_GOLD
from apo_bench.core.data_sections import HHData
from apo_bench.core.errors import ComparabilityError, DataError, MissingInputError
from apo_bench.core.files import write_json, write_jsonl
from apo_bench.metrics import compute_metric
from apo_bench.report.game import game_markdown
from apo_bench.report.glossary import GOLD_UNKNOWN
from apo_bench.report.judge import judge_markdown
from apo_bench.report.tables import claims, markdown

SUBSETS = ["helpful", "helpful", "harmless", "harmless"]
SFT = [1.0, 0.0, 0.0, -1.0]
GOLD = {
    "references/sft": SFT,
    "references/golden": [4.0, 4.0, 4.0, 4.0],
    "references/human": SFT,
    "arms/rjs-base-s0/r1": [2.0, 1.0, 1.0, 0.0],
    "arms/rjs-base-s0/r2": [2.0, 1.0, 1.0, 0.0],
    "arms/rjs-adversarial-s0/r1": [3.0, 2.0, 2.0, 1.0],
    "arms/rjs-adversarial-s0/r2": [3.0, 2.0, -1.0, -2.0],
}
ON_PAIRS = {
    "human_accuracy": 0.7, "human_accuracy_helpful": 0.8, "human_accuracy_standard_error": 0.02,
    "gold_accuracy": 0.8, "ece": 0.03, "ace": 0.04, "mce": 0.1,
}  # fmt: skip
"""No test pair is of the subset harmless."""
MARGINS = {"reward/base": -1.0, "reward/all": 1.0, "first/s0/reward/adversarial": -1.0, "arms/rjs-adversarial-s0/r2/reward": 1.0}
"""Of every pair: RM_base and the reward model of round 1 are always wrong, that of round 2 is always right."""
ON_SAMPLES = {"golden_accuracy": 0.9, "best_of_n_gain": 0.5, "sample_accuracy": 0.6, "mean_gold": 0.0}

JUDGED = {
    "estimates": {"win_rate": {"value": 0.625, "low": 0.5, "high": 0.75, "standard_error": 0.06}},
    "counts": {"num_prompts": 4, "num_judged": 3, "num_wins": 1, "num_ties": 2, "num_losses": 0}
    | {"num_identical": 0, "unreadable_fraction": 0.125, "num_requests": 9, "usd": 0.5},
    "served_models": ["m"],
    "findings": [],
}

HH = {
    **{"source": "hh", "folder": "hh", "seed": 0, "subsets": ["helpful-base", "harmless-base"], "validation_fraction": 0.1},
    **{"num_rm_prompts": 2, "num_lm_prompts": 2, "num_game_prompts": 1, "num_validation_prompts": 1},
    **{"num_test_pairs": 6, "num_test_prompts": 4},
    "hub": {"name": "Anthropic/hh-rlhf", "revision": "0" * 40},
    "golden": {"source": "chosen"},
}
"""A section `prepare` whose data has no gold."""


def rows(gold):
    """Rows of prompts.jsonl: RM_all is ten times gold, and every second response refuses and complies."""
    return [
        {
            **{
                "id": f"p{number}",
                "subset": subset,
                "dialogue": f"\n\nHuman: {number}?\n\nAssistant:",
                "response": "Yes.",
                "finished": True,
            },
            **{"gold": value, "reward_all": 10 * value, "length": 5 + number, "kl": 0.5, "refused": number % 2, "complied": number % 2},
        }
        for number, (subset, value) in enumerate(zip(SUBSETS, gold, strict=True))
    ]


@pytest.fixture
def run_params(params):
    """The repository's params for one method and two rounds."""
    run = params.run.model_copy(update={"methods": ["rjs"], "later_rounds": params.run.later_rounds[:1]})
    return params.model_copy(update={"run": run, "judge": params.judge.model_copy(update={"rounds": ["r2"]})})


@pytest.fixture
def results(tmp_path, run_params):
    """The folder; the reward model of round 2 has another accuracy than that of round 1."""
    folder = tmp_path / "results"
    for name, gold in GOLD.items():
        write_jsonl(folder / name / "evaluation" / "prompts.jsonl", rows(gold))
    write_json(folder / "prepare" / "metrics.json", {"num_records": {"pairs_test": 4}})
    for name in ("reward/base", "reward/all", "first/s0/reward/adversarial", "arms/rjs-adversarial-s0/r2/reward"):
        write_json(folder / name / "metrics.json", ON_PAIRS)
        pairs = [{"id": "p", "subset": subset, "margin": MARGINS[name], "correct": float(MARGINS[name] > 0)} for subset in SUBSETS]
        write_jsonl(folder / name / "margins.jsonl", pairs)
    write_json(folder / "arms/rjs-adversarial-s0/r2/reward/metrics.json", ON_PAIRS | {"human_accuracy": 0.75})
    for name in ("first/s0/score/base", "first/s0/score/adversarial", "arms/rjs-base-s0/r2/score", "arms/rjs-adversarial-s0/r2/score"):
        write_json(folder / name / "metrics.json", ON_SAMPLES)
    for name in ("arms/rjs-base-s0/r2/judge/sft", "arms/rjs-adversarial-s0/r2/judge/sft", "arms/rjs-adversarial-s0/r2/judge/base"):
        write_json(folder / name / "metrics.json", JUDGED)
    for kind in ("base", "adversarial"):
        write_json(folder / f"game/rjs-{kind}-s0/metrics.json", played(run_params, kind, ["r1", "r2"], "gold"))
    write_json(folder / "judge/pairs_test/metrics.json", JUDGED | {"findings": ["It favours the second answer."]})
    return folder


@pytest.fixture
def hh_params(run_params):
    """The same on data without gold."""
    unjudged = run_params.judge.model_copy(update={"rounds": [], "human_pairs": []})
    return run_params.model_copy(update={"prepare": HHData.model_validate(HH), "judge": unjudged})


@pytest.fixture
def results_without_gold(results, hh_params):
    """The folder as the stages leave it when gold is unknown."""
    for file in results.rglob("prompts.jsonl"):
        kept = [json.loads(line) for line in file.read_text().splitlines()]
        write_jsonl(file, [{key: value for key, value in row.items() if key not in NEEDS_GOLD} for row in kept])
    for file in results.rglob("metrics.json"):
        write_json(file, {key: value for key, value in json.loads(file.read_text()).items() if key not in NEEDS_GOLD | {"mean_gold"}})
    for kind in ("base", "adversarial"):
        write_json(results / f"game/rjs-{kind}-s0/metrics.json", played(hh_params, kind, ["r1", "r2"], ""))
    return results


@pytest.fixture
def summary(results, run_params):
    """What summary.json will hold."""
    return read_comparison(results, run_params).summary()


def test_means_are_those_worked_by_hand(summary):
    base = summary["policies"]["rjs-base-s0"]["rounds"]["r1"]
    expected = {
        "gold": 1.0,
        "gold_helpful": 1.5,
        "gold_harmless": 0.5,
        "reward_all": 10.0,
        "win_rate_gold": 1.0,
        "win_rate_reward_all": 1.0,
        "kl_to_sft": 0.5,
        "length": 6.5,
        "refusal_rate": 0.5,
        "compliance_rate": 0.5,
    }
    assert {name: value["value"] for name, value in base.items()} == pytest.approx(expected)


def test_win_rate_counts_a_tie_as_half(summary):
    assert summary["policies"]["sft"]["rounds"]["r0"]["win_rate_gold"] == {"value": 0.5, "low": 0.5, "high": 0.5, "standard_error": 0.0}
    assert summary["policies"]["rjs-adversarial-s0"]["rounds"]["r2"]["win_rate_gold"]["value"] == 0.5  # wins two, loses two


@pytest.mark.parametrize("name", [name for name in GOLD if name.startswith("arms")])
def test_win_rate_is_that_of_the_evaluate_module(summary, name):
    _, arm, round_id = name.split("/")
    expected = compute_metric("win_rate", GOLD[name], SFT)["win_rate"]
    assert summary["policies"][arm]["rounds"][round_id]["win_rate_gold"]["value"] == pytest.approx(expected)


def test_a_constant_paired_difference_has_no_width_and_is_decided(summary):
    """Gold differs from prompt to prompt, its difference does not: unpaired intervals would overlap."""
    difference = summary["differences"]["rjs-adversarial-s0"]["rounds"]["r1"]
    assert difference["gold"] == {"value": 1.0, "low": 1.0, "high": 1.0, "standard_error": 0.0, "verdict": "adversarial better"}
    policies = summary["policies"]
    assert policies["rjs-adversarial-s0"]["rounds"]["r1"]["gold"]["low"] <= policies["rjs-base-s0"]["rounds"]["r1"]["gold"]["high"]


def test_verdicts_follow_the_better_side_of_each_metric(results, run_params):
    refusing = rows(GOLD["arms/rjs-adversarial-s0/r2"])
    for row in refusing:
        row["refused"] = row["complied"] = 1
    write_jsonl(results / "arms/rjs-adversarial-s0/r2/evaluation/prompts.jsonl", refusing)
    for row in refusing:
        row["refused"] = row["complied"] = 0
    write_jsonl(results / "arms/rjs-base-s0/r2/evaluation/prompts.jsonl", refusing)
    difference = read_comparison(results, run_params).summary()["differences"]["rjs-adversarial-s0"]["rounds"]["r2"]
    assert {name: difference[name].get("verdict") for name in ("refusal_rate", "compliance_rate", "gold", "length", "kl_to_sft")} == {
        "refusal_rate": "base better",
        "compliance_rate": "base better",
        "gold": "undecided",
        "length": None,
        "kl_to_sft": None,
    }


def test_gains_and_losses_by_subset(summary):
    """Round 2: +1 on helpful, -2 on harmless, so -0.5 in all; subsets are resampled apart, so this too is without width."""
    difference = summary["differences"]["rjs-adversarial-s0"]["rounds"]["r2"]
    shown = {name: (difference[name]["value"], difference[name]["verdict"]) for name in ("gold_helpful", "gold_harmless", "gold")}
    assert shown == {
        "gold_helpful": (1.0, "adversarial better"),
        "gold_harmless": (-2.0, "base better"),
        "gold": (-0.5, "base better"),
    }


def test_interval_agrees_with_scipy(results, run_params):
    """One subset of 200 skewed values against scipy's percentile bootstrap."""
    values = np.random.default_rng(1).gamma(1.0, size=200).tolist()
    pattern = rows(SFT)[0]
    for name in GOLD:
        many = [{**pattern, "id": str(number), "gold": value} for number, value in enumerate(values)]
        write_jsonl(results / name / "evaluation" / "prompts.jsonl", many)
    comparison = read_comparison(results, run_params)
    ours = comparison.policies["sft"].rounds["r0"]["gold"]
    reference = stats.bootstrap((values,), np.mean, n_resamples=20000, method="percentile", rng=np.random.default_rng(2))
    assert (ours.low, ours.high) == pytest.approx(reference.confidence_interval, abs=0.006)
    assert ours.standard_error == pytest.approx(reference.standard_error, rel=0.03)
    assert comparison.metric("gold_harmless") is None  # no prompt to estimate it from


def test_reward_models_of_round_one_are_shared_and_base_stays(summary):
    models = summary["reward_models"]
    assert [models["rjs-adversarial-s0"][r]["human_accuracy"] for r in ("r1", "r2")] == [0.7, 0.75]
    assert [models["rjs-base-s0"][r]["human_accuracy"] for r in ("r1", "r2")] == [0.7, 0.7]
    assert models["rjs-base-s0"]["r2"]["golden_accuracy"] == 0.9
    for measured in (models["base"], models["rjs-adversarial-s0"]["r2"]):
        assert measured["human_accuracy_helpful"] == 0.8 and "human_accuracy_harmless" not in measured
    assert set(models) == {"base", "all", "rjs-base-s0", "rjs-adversarial-s0"}


@pytest.mark.parametrize(
    "missing",
    [
        "references/golden/evaluation/prompts.jsonl",
        "arms/rjs-base-s0/r2/evaluation/prompts.jsonl",
        "reward/all/metrics.json",
        "first/s0/score/base/metrics.json",
        "arms/rjs-adversarial-s0/r2/reward/metrics.json",
        "prepare/metrics.json",
    ],
)
def test_missing_file_is_named(results, run_params, missing):
    (results / missing).unlink()
    with pytest.raises(MissingInputError, match=f"{missing}: no such file"):
        read_comparison(results, run_params)


def test_other_prompts_or_another_order_are_refused(results, run_params):
    file = results / "arms/rjs-base-s0/r1/evaluation/prompts.jsonl"
    write_jsonl(file, rows(SFT)[::-1])
    with pytest.raises(DataError, match=r"rjs-base-s0/r1/evaluation/prompts.jsonl:1: prompt p3, SFT's evaluation has p0"):
        read_comparison(results, run_params)
    write_jsonl(file, rows(SFT)[:3])
    with pytest.raises(DataError, match=r"3 prompts, SFT's evaluation has 4"):
        read_comparison(results, run_params)


def test_value_that_is_no_number_is_refused(results, run_params):
    wrong = rows(SFT)
    wrong[2]["gold"] = "high"
    write_jsonl(results / "references/human/evaluation/prompts.jsonl", wrong)
    with pytest.raises(DataError, match=r"human/evaluation/prompts.jsonl:3: gold is 'high', expected a number"):
        read_comparison(results, run_params)


def test_claims_say_who_is_better_and_by_how_much(results, run_params):
    comparison = read_comparison(results, run_params)
    line = "RM_all: base better, −5.00 [−5.00, −5.00]; Gold: base better, −0.50 [−0.50, −0.50]"
    assert claims(comparison) == {"RJS adversarial − base": line}
    assert f"- RJS adversarial − base: {line}" in markdown(comparison)


def test_means_over_seeds_by_hand(results, run_params):
    """Seed 1 of the base arm is 1 better than seed 0 everywhere, that of the adversarial arm 3: means 1.5 and 1.0, difference 0.5."""
    more = {"base": 1.0, "adversarial": 3.0}
    for kind, bonus in more.items():
        for round_id in ("r1", "r2"):
            gold = [value + bonus for value in GOLD[f"arms/rjs-{kind}-s0/{round_id}"]]
            write_jsonl(results / f"arms/rjs-{kind}-s1/{round_id}/evaluation/prompts.jsonl", rows(gold))
        shutil.copytree(results / f"game/rjs-{kind}-s0", results / f"game/rjs-{kind}-s1")
    for folder in ("first/s0", "arms/rjs-adversarial-s0", "arms/rjs-base-s0"):
        shutil.copytree(
            results / folder, results / folder.replace("s0", "s1"), dirs_exist_ok=True, ignore=shutil.ignore_patterns("prompts.jsonl")
        )
    both = run_params.model_copy(update={"run": run_params.run.model_copy(update={"seeds": [0, 1]})})
    base, adversarial = read_comparison(results, both).over_seeds
    assert (base.reward_model, base.differences, base.values["gold"].value) == ("base", {}, pytest.approx(1.5))
    assert adversarial.values["gold"].value == pytest.approx(2.0) and adversarial.differences["gold"].value == pytest.approx(0.5)
    assert adversarial.differences["gold_helpful"].value == pytest.approx(2.0)
    assert "over_seeds" in read_comparison(results, both).summary() and not read_comparison(results, run_params).over_seeds


def test_gold_is_neither_expected_nor_shown_where_it_is_unknown(results_without_gold, hh_params):
    comparison = read_comparison(results_without_gold, hh_params)
    summary = comparison.summary()
    base = {name: value["value"] for name, value in summary["policies"]["rjs-base-s0"]["rounds"]["r1"].items()}
    assert base == pytest.approx({"reward_all": 10.0, "win_rate_reward_all": 1.0, "kl_to_sft": 0.5, "length": 6.5})
    assert set(summary["differences"]["rjs-adversarial-s0"]["rounds"]["r2"]) == set(base)
    on_pairs = {"human_accuracy", "human_accuracy_helpful", "human_accuracy_standard_error", "ece", "ace", "mce"}
    assert set(summary["reward_models"]["base"]) == on_pairs
    assert set(summary["reward_models"]["rjs-base-s0"]["r2"]) == {*on_pairs, "golden_accuracy"}
    assert claims(comparison) == {"RJS adversarial − base": "RM_all: base better, −5.00 [−5.00, −5.00]"}
    text = markdown(comparison)
    assert text.startswith(GOLD_UNKNOWN) and "| policy | RM_all | Wins by RM_all, % | KL to SFT, nats | Length, tokens |" in text


def test_gold_that_an_earlier_run_left_is_not_shown(results, results_without_gold, hh_params, run_params):
    """The same summary, whether or not the files still hold gold."""
    expected = read_comparison(results_without_gold, hh_params).summary()
    for name, gold in GOLD.items():
        write_jsonl(results / name / "evaluation" / "prompts.jsonl", rows(gold))
    write_json(results / "reward/all/metrics.json", ON_PAIRS)
    write_json(results / "first/s0/score/base/metrics.json", ON_SAMPLES)
    assert read_comparison(results, hh_params).summary() == expected


@pytest.mark.parametrize(
    ("folder", "key", "message"),
    [
        ("arms/rjs-base-s0/r2/evaluation", "gold", r"r2/evaluation/prompts.jsonl:1: no key gold"),
        ("references/sft/evaluation", "complied", r"sft/evaluation/prompts.jsonl:1: no key complied"),
        ("reward/base", "gold_accuracy", r"reward/base/metrics.json: no gold_accuracy"),
        ("arms/rjs-adversarial-s0/r2/score", "best_of_n_gain", r"r2/score/metrics.json: no best_of_n_gain"),
    ],
)
def test_missing_gold_is_an_error_where_it_is_known(results, run_params, folder, key, message):
    for file in (results / folder).iterdir():
        found = [json.loads(line) for line in file.read_text().splitlines()] if file.suffix == ".jsonl" else [json.loads(file.read_text())]
        kept = [{name: value for name, value in row.items() if name != key} for row in found]
        write_jsonl(file, kept)
    with pytest.raises(DataError, match=message):
        read_comparison(results, run_params)


@pytest.mark.parametrize("has_gold", [True, False], ids=["gold", "gold unknown"])
def test_stage_writes_all_files_and_prints_the_table(request, has_gold, root, tmp_path, monkeypatch, capsys):
    results = request.getfixturevalue("results" if has_gold else "results_without_gold")
    sections = yaml.safe_load((root / "params.yaml").read_text())
    sections["run"] |= {"methods": ["rjs"], "later_rounds": sections["run"]["later_rounds"][:1]}
    if not has_gold:
        model = {"source": "pretrained", "folder": "model", "chat_template": "own", "hub": HH["hub"], "wheel": None, "num_parameters": 1}
        sections |= {"prepare": HH, "base_model": model}
    sections["judge"] |= {"rounds": ["r2"] if has_gold else [], "human_pairs": ["pairs_test"] if has_gold else []}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(sections, sort_keys=False))
    lock_file = LockFile(tmp_path, results)
    lock_file.start()
    for kind in ("base", "adversarial"):
        lock_file.arm("rjs", kind)
    lock_file.save()
    monkeypatch.chdir(tmp_path)
    from pipeline.compare import main

    _, where = main(results, tmp_path / "report")
    files = sorted(path.relative_to(tmp_path / "report").as_posix() for path in (tmp_path / "report").rglob("*") if path.is_file())
    plots = [name for name in files if name.startswith("plots/")]
    assert [name for name in files if name not in plots] == ["index.html", "summary.json", "table.md"]
    assert plots and all(ElementTree.parse(tmp_path / "report" / name).getroot().tag.endswith("svg") for name in plots)
    assert where == tmp_path / "report" / "index.html"
    assert json.loads((tmp_path / "report/summary.json").read_text())["num_test_prompts"] == 4
    printed = capsys.readouterr().out
    assert "RJS adversarial" in printed and "base better" in printed
    assert max(map(len, printed.splitlines()[:12])) <= 140
    budget = json.loads((tmp_path / "report/summary.json").read_text())["budget"]
    assert budget["rjs-base-s0"]["r2"]["num_samples"] == 16 and budget["sft"]["r0"]["num_tokens_trained"] == 1100
    assert "| RJS base | 16 | 16 | 80 |" in (tmp_path / "report/table.md").read_text()
    page = (tmp_path / "report/index.html").read_text()
    assert "What each policy took" in page and "Not like for like" not in page

    sections["compare"]["may_differ"] = ["compute.dtype"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(sections, sort_keys=False))
    lock_file.stages["align@rjs-base-s0-r2"]["params"]["params.yaml"]["compute"]["dtype"] = "bfloat16"
    lock_file.save()
    main(results, tmp_path / "told")
    assert "policy r2: compute.dtype: bfloat16 | float32" in (tmp_path / "told/index.html").read_text()
    assert json.loads((tmp_path / "told/summary.json").read_text())["unlike_arms"] == {
        "rjs-base-s0 | rjs-adversarial-s0": ["policy r2: compute.dtype: bfloat16 | float32"]
    }
    sections["compare"]["may_differ"] = []
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(sections, sort_keys=False))
    with pytest.raises(
        ComparabilityError, match=r"differ in more than method and reward model \(policy r2: compute.dtype: bfloat16 \| float32\)"
    ):
        main(results, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_judgements_are_read_by_opponent_arm_and_round(summary):
    judged = summary["judge"]
    assert judged["judge"] == "gold with noise 1 and 0.5 points for the first position"
    assert judged["arms"] == {
        "sft": {"rjs-base-s0": {"r2": JUDGED}, "rjs-adversarial-s0": {"r2": JUDGED}},
        "base": {"rjs-adversarial-s0": {"r2": JUDGED}},
    }
    assert judged["human"]["pairs_test"]["findings"] == ["It favours the second answer."]


def test_judgements_stand_in_markdown(results, run_params):
    text = judge_markdown(read_comparison(results, run_params))
    assert "On human pairs: It favours the second answer." in text
    assert "| RJS base | r2 | 62.5 [50.0, 75.0] | – | 1 | 2 | 0 | 1 |" in text


def test_without_a_judge_nothing_of_it_is_read_or_shown(results_without_gold, hh_params):
    comparison = read_comparison(results_without_gold, hh_params)
    assert "judge" not in comparison.summary() and judge_markdown(comparison) == ""


@pytest.mark.parametrize("missing", ["arms/rjs-adversarial-s0/r2/judge/base", "arms/rjs-base-s0/r2/judge/sft", "judge/pairs_test"])
def test_missing_or_broken_judgement_is_named(results, run_params, missing):
    file = results / missing / "metrics.json"
    write_json(file, {"estimates": {}})
    with pytest.raises(DataError, match=rf"{missing}/metrics.json: no counts, served_models, findings; run the stage judge"):
        read_comparison(results, run_params)
    file.unlink()
    with pytest.raises(MissingInputError, match=f"{missing}/metrics.json: no such file"):
        read_comparison(results, run_params)


def test_the_game_is_read_with_the_frontier(results, run_params):
    """Round 2 of the adversarial arm refuses and complies as the others do, so all stand together."""
    comparison = read_comparison(results, run_params)
    game = comparison.summary()["game"]
    assert set(game["arms"]) == {"rjs-base-s0", "rjs-adversarial-s0"} and game["shift_against"] == "gold"
    assert game["arms"]["rjs-base-s0"]["dynamics"] is None and set(game["arms"]["rjs-adversarial-s0"]["matrix"]) == {"base", "r1", "r2"}
    assert set(game["frontier"]) == {"sft", "golden", "human", "rjs-base-s0", "rjs-adversarial-s0"}
    assert all(found["is_pareto"] for rounds in game["frontier"].values() for found in rounds.values())
    assert "| RJS adversarial | undecided |" in game_markdown(comparison)


def test_without_gold_and_judge_there_is_neither_frontier_nor_shift(results_without_gold, hh_params):
    game = read_comparison(results_without_gold, hh_params).summary()["game"]
    assert (game["frontier"], game["shift_against"]) == ({}, "")
    assert all(arm["shift"] is None and arm["over_optimisation"]["target"] == "reward_all" for arm in game["arms"].values())


def test_missing_or_broken_game_is_named(results, run_params):
    file = results / "game/rjs-base-s0/metrics.json"
    write_json(file, {"matrix": {}})
    with pytest.raises(DataError, match=r"rjs-base-s0/metrics.json: no dynamics, over_optimisation, shift; run the stage game"):
        read_comparison(results, run_params)
    file.unlink()
    with pytest.raises(MissingInputError, match=r"rjs-base-s0/metrics.json: no such file"):
        read_comparison(results, run_params)
