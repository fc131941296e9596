"""Policies and reward models of one's own in the comparison: rows and columns that change no other number."""

import json

import pytest
from comparison.test_reading import GOLD, ON_PAIRS, five, results, rows, run_params, written  # noqa: F401  (fixtures)

from apo_bench.comparison.reading import read_comparison
from apo_bench.config.params import Params
from apo_bench.core.errors import DataError
from apo_bench.core.files import write_json, write_jsonl

MINE = [2.0, 1.0, 1.0, 0.0]
"""One better than SFT on every prompt."""


def with_policy(results, params: Params, kl: float | None = None) -> Params:  # noqa: F811
    """Adds the policy `mine`, with or without a divergence from SFT."""
    for seed in params.run.seeds:
        found = [row | {"kl": kl, "length": 100} for row in rows(MINE)]
        write_jsonl(results / f"s{seed}/references/mine/evaluation/prompts.jsonl", found)
    references = params.references.model_copy(update={"own": {"mine": None}})
    return params.model_copy(update={"references": references})


def with_reward_model(results, params: Params, policies: list[str]) -> Params:  # noqa: F811
    """Adds the reward model `judge`, which scores a response a hundred times gold."""
    write_json(results / "reward_evaluations/own/reward/judge/metrics.json", ON_PAIRS | {"human_accuracy": 0.9})
    scores = [{"policy": name.split("/")[-1], "round": "r0", "rewards": [100 * gold for gold in GOLD[name]]} for name in policies]
    scores += [
        {"policy": name.split("/")[2], "round": name.split("/")[3], "rewards": [100 * value for value in gold]}
        for name, gold in GOLD.items()
        if "/arms/" in name
    ]
    write_jsonl(results / "s0/own/judge/scores.jsonl", scores)
    return params.model_copy(update={"reward": params.reward | {"own": {"judge": {"folder": "inputs/judge"}}}})


def plain(summary):
    """Without what was added."""
    for policies in (summary["policies"], summary["replicates"]):
        for name in [name for name in policies if name.startswith("mine")]:
            del policies[name]
    summary["claims"].pop("own", None)
    summary["game"].pop("frontier")  # of all policies
    return json.dumps(summary)


def test_a_policy_of_ones_own_is_a_row_and_changes_no_other(results, run_params):  # noqa: F811
    before = read_comparison(results, run_params).summary()
    changed = with_policy(results, run_params)
    comparison = read_comparison(results, changed)
    found = comparison.summary()
    mine = found["policies"]["mine"]
    assert mine["kind"] == "reference" and mine["is_own"] and [policy.name for policy in comparison.references][-1] == "mine"
    values = mine["rounds"]["r0"]
    assert (values["gold"]["value"], values["win_rate_gold"]["value"], values["length"]["value"]) == (1.0, 1.0, 100.0)
    assert "kl_to_sft" not in values, "its tokens are not SFT's"
    assert plain(found) == plain(before)
    row = next(line for line in written(comparison, changed).splitlines() if line.startswith("| mine "))
    assert "| – |" in row, "a dash where there is no divergence"


def test_its_divergence_stands_where_there_is_one(results, run_params):  # noqa: F811
    comparison = read_comparison(results, with_policy(results, run_params, kl=2.5))
    assert comparison.policies["mine"].rounds["r0"]["kl_to_sft"].value == 2.5
    with pytest.raises(DataError, match=r"references/human/evaluation/prompts.jsonl:1: kl is NoneType, expected"):
        write_jsonl(results / "s0/references/human/evaluation/prompts.jsonl", [row | {"kl": None} for row in rows(MINE)])
        read_comparison(results, run_params)


def test_it_is_compared_with_sft_and_every_arm(results, five):  # noqa: F811
    """SFT + 1 is as good as the arm with the fixed reward model, and in r2 half a point better than the adversarial one."""
    changed = with_policy(results, five)
    comparison = read_comparison(results, changed)
    claims = comparison.verdicts.summary()["own"]["gold"]
    assert {name: claim["verdict"] for name, claim in claims.items()} == {
        "mine over SFT": "better",
        "mine over RJS base": "no difference beyond d",
        "mine over RJS adversarial": "better",
    }
    assert [claims[name]["contrasts"][0]["value"] for name in claims] == [1.0, 0.0, 0.5]
    page = written(comparison, changed)
    assert "Policies of one’s own" in page and "**mine over SFT**" in page and "**better**" in page


def test_a_reward_model_of_ones_own_is_a_column_and_a_row(results, run_params):  # noqa: F811
    references = [name for name in GOLD if "/references/" in name]
    comparison = read_comparison(results, with_reward_model(results, run_params, references))
    assert comparison.metric("own_reward_judge").title == "RM_judge"
    assert comparison.policies["rjs-base"].rounds["r2"]["own_reward_judge"].value == pytest.approx(100.0)
    assert comparison.differences["rjs-adversarial"].rounds["r1"]["own_reward_judge"].value == pytest.approx(100.0)
    assert comparison.fixed_reward_models["judge"]["human_accuracy"] == 0.9


def test_scores_of_other_responses_are_refused(results, run_params):  # noqa: F811
    changed = with_reward_model(results, run_params, ["s0/references/sft"])
    with pytest.raises(DataError, match=r"no rewards of golden-s0 by judge; run the stage score_responses \(dvc repro\) again"):
        read_comparison(results, changed)
    file = results / "s0/own/judge/scores.jsonl"
    write_jsonl(file, [{"policy": "sft", "round": "r0", "rewards": [1.0]}])
    with pytest.raises(DataError, match=r"scores.jsonl: 1 rewards of sft after r0, expected 4, one a test response"):
        read_comparison(results, changed)
