"""The comparison, on a results folder made by hand: four prompts, one method, two reward models, two rounds.

Gold of SFT is 1, 0 | 0, -1 (two helpful prompts | two harmless ones). The base arm adds 1 everywhere, so its mean is 1. The adversarial arm
adds 1 to that on each prompt, in round 2 on the helpful prompts only, where it takes 2 away from the harmless ones.
"""

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from games import played
from lock_file import LockFile
from scipy import stats

from apo_bench.comparison.reading import _doses, read_comparison
from apo_bench.config.params import load_params
from apo_bench.config.sections import Evaluate, GameLedger
from apo_bench.core.errors import DataError, MissingInputError
from apo_bench.core.files import write_json, write_jsonl
from apo_bench.evaluation.metrics import NEEDS_GOLD
from apo_bench.metrics import compute_metric
from apo_bench.report.contents import contents
from apo_bench.report.glossary import GOLD_UNKNOWN
from apo_bench.report.section import as_markdown
from apo_bench.sources.hh import HH as Source
from pipeline.stage import run_stage

SUBSETS = ["helpful", "helpful", "harmless", "harmless"]
SFT = [1.0, 0.0, 0.0, -1.0]
GOLD = {
    "s0/references/sft": SFT,
    "s0/references/golden": [4.0, 4.0, 4.0, 4.0],
    "s0/references/human": SFT,
    "s0/references/best_of_n": SFT,
    "s0/arms/rjs-base/r1": [2.0, 1.0, 1.0, 0.0],
    "s0/arms/rjs-base/r2": [2.0, 1.0, 1.0, 0.0],
    "s0/arms/rjs-adversarial/r1": [3.0, 2.0, 2.0, 1.0],
    "s0/arms/rjs-adversarial/r2": [3.0, 2.0, -1.0, -2.0],
}
ON_PAIRS = {
    "human_accuracy": 0.7, "human_accuracy_helpful": 0.8, "human_accuracy_standard_error": 0.02,
    "gold_accuracy": 0.8, "ece": 0.03, "ace": 0.04, "mce": 0.1,
}  # fmt: skip
"""No test pair is of the subset harmless."""
MARGINS = {"s0/reward/base": -1.0, "s0/reward/all": 1.0, "s0/first/reward/adversarial": -1.0, "s0/arms/rjs-adversarial/r2/reward": 1.0}
"""Of every pair: RM_base and the reward model of round 1 are always wrong, that of round 2 is always right."""
ON_SAMPLES = {"golden_accuracy": 0.9, "best_of_n_gain": 0.5, "perfect_best_of_n_gain": 1.0, "sample_accuracy": 0.6, "mean_gold": 0.0}

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
    **{"num_test_pairs": 6, "num_test_prompts": 4, "num_further_pairs": 0},
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
    kinds = {
        "reward_models": ["base", "adversarial"],
        "fixed_reward_models": ["base"],
        "gold_reward_models": [],
        "sft_start_reward_models": ["base", "adversarial"],
    }
    run = params.run.model_copy(update={"methods": ["rjs"], "later_rounds": params.run.later_rounds[:1], "seeds": [0], **kinds})
    judge = params.judge.model_copy(update={"rounds": ["r2"], "seeds": [0]})
    evaluate = Evaluate(num_earlier_prompts=10_000, num_earlier_pairs=10_000)
    return params.model_copy(update={"run": run, "judge": judge, "game": GameLedger(seeds=[0]), "evaluate": evaluate})


@pytest.fixture
def results(tmp_path, run_params):
    """The folder; the reward model of round 2 has another accuracy than that of round 1."""
    folder = tmp_path / "results"
    for name, gold in GOLD.items():
        write_jsonl(folder / name / "evaluation" / "prompts.jsonl", rows(gold))
    write_json(folder / "prepare" / "metrics.json", {"num_records": {"pairs_test": 4}})
    for name in ("s0/reward/base", "s0/reward/all", "s0/first/reward/adversarial", "s0/arms/rjs-adversarial/r2/reward"):
        write_json(folder / "reward_evaluations" / name / "metrics.json", ON_PAIRS)
        pair = {"id": "p", "margin": MARGINS[name], "correct": float(MARGINS[name] > 0)}
        write_jsonl(folder / "reward_evaluations" / name / "margins.jsonl", [pair | {"subset": subset} for subset in SUBSETS])
    write_json(folder / "reward_evaluations/s0/arms/rjs-adversarial/r2/reward/metrics.json", ON_PAIRS | {"human_accuracy": 0.75})
    for name in ("s0/first/score/base", "s0/first/score/adversarial", "s0/arms/rjs-base/r2/score", "s0/arms/rjs-adversarial/r2/score"):
        write_json(folder / name / "metrics.json", ON_SAMPLES)
    for name in ("s0/arms/rjs-base/r2/judge/sft", "s0/arms/rjs-adversarial/r2/judge/sft", "s0/arms/rjs-adversarial/r2/judge/base"):
        write_json(folder / name / "metrics.json", JUDGED)
    for kind in ("base", "adversarial"):
        write_json(folder / f"s0/game/rjs-{kind}/metrics.json", played(run_params, kind, ["r1", "r2"], "gold"))
    write_json(folder / "judge/pairs_test/metrics.json", JUDGED | {"findings": ["It favours the second answer."]})
    return folder


@pytest.fixture
def five(results, run_params):
    """Params of a run of five replicates, as many as may be decided; all have left the same."""
    for seed in range(1, 5):
        for folder in (results, results / "reward_evaluations"):
            shutil.copytree(folder / "s0", folder / f"s{seed}")
    return run_params.model_copy(update={"run": run_params.run.model_copy(update={"seeds": list(range(5))})})


@pytest.fixture
def hh_params(run_params):
    """The same on data without gold."""
    unjudged = run_params.judge.model_copy(update={"rounds": [], "human_pairs": []})
    return run_params.model_copy(update={"prepare": Source.model_validate(HH), "judge": unjudged})


@pytest.fixture
def results_without_gold(results, hh_params):
    """The folder as the stages leave it when gold is unknown."""
    for file in results.rglob("prompts.jsonl"):
        kept = [json.loads(line) for line in file.read_text().splitlines()]
        write_jsonl(file, [{key: value for key, value in row.items() if key not in NEEDS_GOLD} for row in kept])
    for file in results.rglob("metrics.json"):
        write_json(file, {key: value for key, value in json.loads(file.read_text()).items() if key not in NEEDS_GOLD | {"mean_gold"}})
    for kind in ("base", "adversarial"):
        write_json(results / f"s0/game/rjs-{kind}/metrics.json", played(hh_params, kind, ["r1", "r2"], ""))
    return results


@pytest.fixture
def summary(results, run_params):
    """What summary.json will hold."""
    return read_comparison(results, run_params).summary()


def test_means_are_those_worked_by_hand(summary):
    base = summary["policies"]["rjs-base"]["rounds"]["r1"]
    expected = {
        "gold": 1.0,
        "gold_helpful": 1.5,
        "gold_harmless": 0.5,
        "reward_all": 10.0,
        "win_rate_gold": 1.0,
        "win_rate_reward_all": 1.0,
        "reward_all_equal_length": 10.0,
        "kl_to_sft": 0.5,
        "length": 6.5,
        "refusal_rate": 0.5,
        "compliance_rate": 0.5,
    }
    assert {name: value["value"] for name, value in base.items()} == pytest.approx(expected)


def test_win_rate_counts_a_tie_as_half(summary):
    assert summary["policies"]["sft"]["rounds"]["r0"]["win_rate_gold"] == {"value": 0.5, "low": 0.5, "high": 0.5, "standard_error": 0.0}
    assert summary["policies"]["rjs-adversarial"]["rounds"]["r2"]["win_rate_gold"]["value"] == 0.5  # wins two, loses two


@pytest.mark.parametrize("name", [name for name in GOLD if "/arms/" in name])
def test_win_rate_is_that_of_the_evaluate_module(summary, name):
    _, _, arm, round_id = name.split("/")
    expected = compute_metric("win_rate", GOLD[name], SFT)["win_rate"]
    assert summary["policies"][arm]["rounds"][round_id]["win_rate_gold"]["value"] == pytest.approx(expected)


def test_a_constant_paired_difference_has_no_width_and_is_decided(results, five, summary):
    """Gold differs from prompt to prompt, its difference does not: unpaired intervals would overlap. One replicate decides nothing."""
    constant = {"value": 1.0, "low": 1.0, "high": 1.0, "standard_error": 0.0}
    assert summary["differences"]["rjs-adversarial"]["rounds"]["r1"]["gold"] == constant
    policies = summary["policies"]
    for kind in ("base", "adversarial"):
        for seed in five.run.seeds:
            name = f"s0/arms/rjs-{kind}"
            write_jsonl(results / f"s{seed}/arms/rjs-{kind}/r2/evaluation/prompts.jsonl", rows(GOLD[f"{name}/r1"]))
    difference = read_comparison(results, five).summary()["differences"]["rjs-adversarial"]["rounds"]["r2"]
    assert difference["gold"] == constant | {"verdict": "adversarial better"}
    assert policies["rjs-adversarial"]["rounds"]["r1"]["gold"]["low"] <= policies["rjs-base"]["rounds"]["r1"]["gold"]["high"]


def test_verdicts_follow_the_better_side_of_each_metric(results, five):
    refusing = rows(GOLD["s0/arms/rjs-adversarial/r2"])
    for row in refusing:
        row["refused"] = row["complied"] = 1
    for seed in five.run.seeds:
        write_jsonl(results / f"s{seed}/arms/rjs-adversarial/r2/evaluation/prompts.jsonl", refusing)
    for row in refusing:
        row["refused"] = row["complied"] = 0
    for seed in five.run.seeds:
        write_jsonl(results / f"s{seed}/arms/rjs-base/r2/evaluation/prompts.jsonl", refusing)
    difference = read_comparison(results, five).summary()["differences"]["rjs-adversarial"]["rounds"]["r2"]
    assert {name: difference[name].get("verdict") for name in ("refusal_rate", "compliance_rate", "gold", "length", "kl_to_sft")} == {
        "refusal_rate": "base better",
        "compliance_rate": "base better",
        "gold": "no difference beyond d",
        "length": None,
        "kl_to_sft": None,
    }


def test_gains_and_losses_by_subset(results, five):
    """Round 2: +1 on helpful, -2 on harmless, so -0.5 in all."""
    difference = read_comparison(results, five).summary()["differences"]["rjs-adversarial"]["rounds"]["r2"]
    shown = {name: (difference[name]["value"], difference[name]["verdict"]) for name in ("gold_helpful", "gold_harmless", "gold")}
    assert shown == {
        "gold_helpful": (1.0, "adversarial better"),
        "gold_harmless": (-2.0, "base better"),
        "gold": (-0.5, "base better"),
    }


def test_a_score_at_equal_length_is_less_what_length_adds(results, run_params):
    """RM_all of all policies is 10 and 2 a token, of a length without regard to policy or prompt. Were responses as long as SFT's,
    10 and 2 a token of SFT's own would be left."""
    rng = np.random.default_rng(0)
    lengths = {name: rng.integers(5, 50, size=4).tolist() for name in GOLD}
    for name in GOLD:
        found = [
            {**row, "gold": 1.0, "length": length, "reward_all": 10 + 2.0 * length}
            for row, length in zip(rows(SFT), lengths[name], strict=True)
        ]
        write_jsonl(results / name / "evaluation" / "prompts.jsonl", found)
    policies = read_comparison(results, run_params).policies
    for name in ("rjs-base", "rjs-adversarial"):
        assert policies[name].rounds["r2"]["reward_all_equal_length"].value == pytest.approx(10 + 2 * np.mean(lengths["s0/references/sft"]))


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
    assert set(models) == {"base", "all", "rjs-base", "rjs-adversarial", "rjs-base-s0", "rjs-adversarial-s0"}


@pytest.mark.parametrize(
    "missing",
    [
        "s0/references/golden/evaluation/prompts.jsonl",
        "s0/arms/rjs-base/r2/evaluation/prompts.jsonl",
        "reward_evaluations/s0/reward/all/metrics.json",
        "s0/first/score/base/metrics.json",
        "reward_evaluations/s0/arms/rjs-adversarial/r2/reward/metrics.json",
        "prepare/metrics.json",
    ],
)
def test_missing_file_is_named(results, run_params, missing):
    (results / missing).unlink()
    with pytest.raises(MissingInputError, match=f"{missing}: no such file"):
        read_comparison(results, run_params)


def test_other_prompts_or_another_order_are_refused(results, run_params):
    file = results / "s0/arms/rjs-base/r1/evaluation/prompts.jsonl"
    write_jsonl(file, rows(SFT)[::-1])
    with pytest.raises(DataError, match=r"rjs-base/r1/evaluation/prompts.jsonl:1: prompt p3, SFT's evaluation has p0"):
        read_comparison(results, run_params)
    write_jsonl(file, rows(SFT)[:3])
    with pytest.raises(DataError, match=r"3 prompts, expected 4 of SFT's evaluation"):
        read_comparison(results, run_params)


def test_prompts_of_a_subset_that_the_data_does_not_have_are_refused(results, run_params):
    """Else they would be in no table."""
    for file in results.rglob("evaluation/prompts.jsonl"):
        file.write_text(file.read_text().replace('"harmless"', '"harmles"'))
    with pytest.raises(DataError, match=r"test prompts: subset 'harmles', expected helpful or harmless as prepare has it"):
        read_comparison(results, run_params)


def test_value_that_is_no_number_is_refused(results, run_params):
    wrong = rows(SFT)
    wrong[2]["gold"] = "high"
    write_jsonl(results / "s0/references/human/evaluation/prompts.jsonl", wrong)
    with pytest.raises(DataError, match=r"human/evaluation/prompts.jsonl:3: gold is str, expected a number"):
        read_comparison(results, run_params)


def written(comparison, params):
    """report/table.md"""
    return as_markdown(contents(comparison, params.compare))


def test_findings_say_who_is_better_and_by_how_much(results, run_params, five):
    shown = "| RJS adversarial − base | {0} −0.50 [−0.50, −0.50] | {0} −5.00 [−5.00, −5.00] | {0} −5.00 [−5.00, −5.00] |"
    for params, verdict in ((run_params, "undecided"), (five, "base better")):
        assert shown.format(verdict) in written(read_comparison(results, params), params)


def test_means_over_replicates_by_hand(results, run_params):
    """Seed 1 of the base arm is 1 better than seed 0 everywhere, that of the adversarial arm 3: means 1.5 and 2.0, difference 0.5.

    The differences of the seeds are -0.5 and 1.5: a standard error of 1, and Student's t with one degree of freedom is 12.706.
    """
    for folder in (results, results / "reward_evaluations"):
        shutil.copytree(folder / "s0", folder / "s1")
    more = {"base": 1.0, "adversarial": 3.0}
    for kind, bonus in more.items():
        for round_id in ("r1", "r2"):
            gold = [value + bonus for value in GOLD[f"s0/arms/rjs-{kind}/{round_id}"]]
            write_jsonl(results / f"s1/arms/rjs-{kind}/{round_id}/evaluation/prompts.jsonl", rows(gold))
    both = run_params.model_copy(update={"run": run_params.run.model_copy(update={"seeds": [0, 1]})})
    comparison = read_comparison(results, both)
    means = {name: comparison.policies[f"rjs-{name}"].rounds["r2"]["gold"].value for name in more}
    assert means == pytest.approx({"base": 1.5, "adversarial": 2.0})
    difference = comparison.differences["rjs-adversarial"].rounds["r2"]
    assert difference["gold"].value == pytest.approx(0.5) and difference["gold_helpful"].value == pytest.approx(2.0)
    assert (difference["gold"].low, difference["gold"].high) == pytest.approx((0.5 - 12.706, 0.5 + 12.706), abs=1e-3)
    assert difference["gold"].standard_error == pytest.approx(1.0)
    assert comparison.policies["rjs-base"].members == ("rjs-base-s0", "rjs-base-s1")
    assert comparison.replicates["rjs-base-s1"].rounds["r2"]["gold"].value == pytest.approx(2.0)


def test_earlier_rounds_answer_the_first_prompts(results, run_params):
    """Round 1 on three of the four prompts: its own mean is over these, and the path of all rounds too."""
    for kind in ("base", "adversarial"):
        name = f"s0/arms/rjs-{kind}/r1"
        write_jsonl(results / name / "evaluation" / "prompts.jsonl", rows(GOLD[name])[:3])
    fewer = run_params.model_copy(update={"evaluate": run_params.evaluate.model_copy(update={"num_earlier_prompts": 3})})
    arm = read_comparison(results, fewer).policies["rjs-base"]
    assert arm.rounds["r1"]["gold"].value == pytest.approx(4 / 3) and arm.rounds["r2"]["gold"].value == pytest.approx(1.0)
    assert [arm.path[name]["gold"].value for name in ("r0", "r1", "r2")] == pytest.approx([1 / 3, 4 / 3, 4 / 3])
    with pytest.raises(DataError, match=r"r1/evaluation/prompts.jsonl: 3 prompts, expected 4 of SFT's evaluation"):
        read_comparison(results, run_params)


def test_gold_is_neither_expected_nor_shown_where_it_is_unknown(results_without_gold, hh_params):
    comparison = read_comparison(results_without_gold, hh_params)
    summary = comparison.summary()
    base = {name: value["value"] for name, value in summary["policies"]["rjs-base"]["rounds"]["r1"].items()}
    assert base == pytest.approx(
        {"reward_all": 10.0, "reward_all_equal_length": 10.0, "win_rate_reward_all": 1.0, "kl_to_sft": 0.5, "length": 6.5}
    )
    assert set(summary["differences"]["rjs-adversarial"]["rounds"]["r2"]) == set(base)
    on_pairs = {"human_accuracy", "human_accuracy_helpful", "human_accuracy_standard_error", "ece", "ace", "mce"}
    assert set(summary["reward_models"]["base"]) == on_pairs
    assert set(summary["reward_models"]["rjs-base-s0"]["r2"]) == {*on_pairs, "golden_accuracy"}
    text = written(comparison, hh_params)
    assert "| RJS adversarial − base | undecided −5.00 [−5.00, −5.00] | undecided −5.00 [−5.00, −5.00] |" in text
    assert text.startswith(f"## All policies\n\n{GOLD_UNKNOWN}\n")
    assert "| Policy | RM_all ↑ | RM_all at equal length ↑ | Wins by RM_all, % ↑ | KL to SFT, nats | Length, tokens |" in text


def test_mechanism_by_hand(results, run_params):
    """RM_base orders 0.6 of SFT's samples and 0.5 of round 1's policy, and gains 0.5 of 1; the base arm's RM_all and gold rise together."""
    write_json(results / "s0/arms/rjs-base/r2/score/metrics.json", ON_SAMPLES | {"sample_accuracy": 0.5})
    found = read_comparison(results, run_params).summary()["mechanism"]
    assert [one["holds"] for one in found] == [False, True, True, False]
    assert [one["found"] for one in found] == ["60.0 %", "50 %", "RJS 10.0", "none"]
    last = results / "s0/arms/rjs-base/r2/evaluation/prompts.jsonl"
    both_up = [row | {"gold": row["gold"] + 1, "reward_all": row["reward_all"] + 1} for row in rows(GOLD["s0/arms/rjs-base/r2"])]
    write_jsonl(last, both_up)
    assert not read_comparison(results, run_params).summary()["mechanism"][3]["holds"]
    worse = [row | {"gold": row["gold"] - 4} for row in both_up]
    write_jsonl(last, worse)
    assert read_comparison(results, run_params).summary()["mechanism"][3] == {
        "words": "some method over-optimises it: RM_all up, gold down",
        "wanted": "one or more",
        "found": "RJS",
        "holds": True,
    }


def test_doses_are_what_differs_in_alpha_alone(root):
    """WGAN's, GAIL's and the sequential reward model differ in more."""
    doses = _doses(load_params(root / "profiles/ablations/params.yaml"))
    assert list(doses.items()) == [("no_adversarial", 0.0), ("adversarial", 0.1), ("alpha_03", 0.3), ("alpha_1", 1.0), ("alpha_3", 3.0)]


def test_gold_that_an_earlier_run_left_is_not_shown(results, results_without_gold, hh_params, run_params):
    """The same summary, whether or not the files still hold gold."""
    expected = read_comparison(results_without_gold, hh_params).summary()
    for name, gold in GOLD.items():
        write_jsonl(results / name / "evaluation" / "prompts.jsonl", rows(gold))
    write_json(results / "reward_evaluations/s0/reward/all/metrics.json", ON_PAIRS)
    write_json(results / "s0/first/score/base/metrics.json", ON_SAMPLES)
    assert read_comparison(results, hh_params).summary() == expected


@pytest.mark.parametrize(
    ("folder", "key", "message"),
    [
        ("s0/arms/rjs-base/r2/evaluation", "gold", r"r2/evaluation/prompts.jsonl:1: no key gold"),
        ("s0/references/sft/evaluation", "complied", r"sft/evaluation/prompts.jsonl:1: no key complied"),
        ("reward_evaluations/s0/reward/base", "gold_accuracy", r"s0/reward/base/metrics.json: no gold_accuracy"),
        ("s0/arms/rjs-adversarial/r2/score", "best_of_n_gain", r"r2/score/metrics.json: no best_of_n_gain"),
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
    kinds = {
        "reward_models": ["base", "adversarial"],
        "fixed_reward_models": ["base"],
        "gold_reward_models": [],
        "sft_start_reward_models": ["base", "adversarial"],
    }
    sections["run"] |= {"methods": ["rjs"], "later_rounds": sections["run"]["later_rounds"][:1], "seeds": [0], **kinds}
    if not has_gold:
        model = {"source": "pretrained", "folder": "model", "chat_template": "own", "hub": HH["hub"], "wheel": None, "num_parameters": 1}
        sections |= {"prepare": HH, "base_model": model}
    sections["judge"] |= {"rounds": ["r2"] if has_gold else [], "human_pairs": ["pairs_test"] if has_gold else []}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(sections, sort_keys=False))
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    results.rename("out/results")
    lock_file = LockFile(tmp_path, Path("out/results"))
    lock_file.start()
    for kind in ("base", "adversarial"):
        lock_file.arm("rjs", kind)
    lock_file.save()
    assert run_stage("compare", []) == 0
    files = sorted(path.relative_to(tmp_path / "report").as_posix() for path in (tmp_path / "report").rglob("*") if path.is_file())
    plots = [name for name in files if name.startswith("plots/")]
    assert [name for name in files if name not in plots] == ["index.html", "metrics.json", "summary.json", "table.md"]
    assert plots and all(ElementTree.parse(tmp_path / "report" / name).getroot().tag.endswith("svg") for name in plots)
    assert json.loads((tmp_path / "report/summary.json").read_text())["num_test_prompts"] == 4
    printed = capsys.readouterr().out
    assert "RJS adversarial" in printed and "undecided" in printed and "base better" not in printed and "adversarial better" not in printed
    assert max(map(len, printed.splitlines()[:12])) <= 140
    budget = json.loads((tmp_path / "report/summary.json").read_text())["budget"]
    assert budget["rjs-base-s0"]["r2"]["num_samples"] == 16 and budget["sft-s0"]["r0"]["num_tokens_trained"] == 1100
    assert "| RJS base | 16 | 16 | 80 |" in (tmp_path / "report/table.md").read_text()
    page = (tmp_path / "report/index.html").read_text()
    assert "What each policy took" in page and "Not like for like" not in page

    sections["compare"]["may_differ"] = ["compute.dtype"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(sections, sort_keys=False))
    lock_file.stages["align@rjs-base-s0-r2"]["params"]["params.yaml"]["compute"]["dtype"] = "bfloat16"
    lock_file.save()
    assert run_stage("compare", []) == 0
    assert "policy r2: compute.dtype: bfloat16 | float32" in (tmp_path / "report/index.html").read_text()
    assert json.loads((tmp_path / "report/summary.json").read_text())["unlike_arms"] == {
        "rjs-base-s0 | rjs-adversarial-s0": ["policy r2: compute.dtype: bfloat16 | float32"]
    }
    sections["compare"]["may_differ"] = []
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(sections, sort_keys=False))
    shutil.rmtree("report")
    capsys.readouterr()
    assert run_stage("compare", []) == 1
    told = capsys.readouterr().err
    assert (
        "differ in more than method and reward model (policy r2: compute.dtype: bfloat16 | float32)" in told and not Path("report").exists()
    )


def test_judgements_are_read_by_opponent_arm_and_round(summary):
    judged = summary["judge"]
    assert judged["judge"] == "gold with noise 1 and 0.5 points for the first position"
    assert judged["arms"] == {
        "sft": {"rjs-base-s0": {"r2": JUDGED}, "rjs-adversarial-s0": {"r2": JUDGED}},
        "base": {"rjs-adversarial-s0": {"r2": JUDGED}},
    }
    assert judged["human"]["pairs_test"]["findings"] == ["It favours the second answer."]


def test_judgements_stand_in_markdown(results, run_params):
    text = written(read_comparison(results, run_params), run_params)
    assert "- On human pairs: It favours the second answer." in text
    assert re.search(r"\| RJS base, seed 0 \| r2 \| 62.5 \[50.0, 75.0\] \| – \|.* 1 \| 2 \| 0 \| 1 \|", text)


def test_without_a_judge_nothing_of_it_is_read_or_shown(results_without_gold, hh_params):
    comparison = read_comparison(results_without_gold, hh_params)
    assert "judge" not in comparison.summary() and "Judge" not in written(comparison, hh_params)


@pytest.mark.parametrize("missing", ["s0/arms/rjs-adversarial/r2/judge/base", "s0/arms/rjs-base/r2/judge/sft", "judge/pairs_test"])
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
    assert set(game["frontier"]) == {f"{name}-s0" for name in ("sft", "golden", "human", "best_of_n", "rjs-base", "rjs-adversarial")}
    assert all(found["is_pareto"] for rounds in game["frontier"].values() for found in rounds.values())
    assert "| RJS adversarial, seed 0 | undecided |" in written(comparison, run_params)


def test_without_gold_and_judge_there_is_neither_frontier_nor_shift(results_without_gold, hh_params):
    game = read_comparison(results_without_gold, hh_params).summary()["game"]
    assert (game["frontier"], game["shift_against"]) == ({}, "")
    assert all(arm["shift"] is None and arm["over_optimisation"]["target"] == "reward_all" for arm in game["arms"].values())


def test_missing_or_broken_game_is_named(results, run_params):
    file = results / "s0/game/rjs-base/metrics.json"
    write_json(file, {"matrix": {}})
    with pytest.raises(DataError, match=r"s0/game/rjs-base/metrics.json: no dynamics, over_optimisation, shift; run the stage game"):
        read_comparison(results, run_params)
    file.unlink()
    with pytest.raises(MissingInputError, match=r"s0/game/rjs-base/metrics.json: no such file"):
        read_comparison(results, run_params)
