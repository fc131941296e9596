"""The section on the game: verdicts and numbers as they were counted, and words that fit the data."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from claimed import claimed
from games import played

from apo_bench.comparison.results import METRICS, Policy
from apo_bench.evaluation.statistics import Estimate
from apo_bench.game.results import Game
from apo_bench.report.game import game_markdown, game_view
from apo_bench.report.game_charts import game_charts

ROUNDS = ["r1", "r2"]


def arm_of(kind, seed, rounds, estimates):
    """A replicate of DPO."""
    path = dict.fromkeys(("r0", *rounds), estimates)
    return Policy(f"dpo-{kind}-s{seed}", {}, dict.fromkeys(rounds, estimates), path, (), "dpo", kind, seed)


def comparison(params, rounds, against):
    """One method with both reward models, as the section sees it."""
    has_gold = against == "gold"
    metrics = {metric.name: metric for metric in METRICS if has_gold or metric.key not in ("gold", "refused", "complied")}
    estimates = {name: Estimate(0.5, 0.4, 0.6, 0.05) for name in metrics}
    arms = [arm_of(kind, 0, rounds, estimates) for kind in ("base", "adversarial")]
    references = [
        Policy(name, {}, {"r0": estimates}, {"r0": estimates}, (f"{name}-s0",)) for name in ("sft", "golden", "human", "best_of_n")
    ]
    replicates = {f"{policy.name}-s0": replace(policy, name=f"{policy.name}-s0", seed=0) for policy in references}
    replicates |= {arm.name: arm for arm in arms}
    standing = {"is_pareto": True, "share": 0.5, "standing": "undecided"}
    frontier = {policy.name: dict.fromkeys(policy.rounds, standing) for policy in replicates.values() if has_gold}
    game = Game({arm.name: played(params, str(arm.reward_model), rounds, against) for arm in arms}, frontier, against)
    return SimpleNamespace(
        game=game,
        game_arms=arms,
        arms=arms,
        references=references,
        replicates=replicates,
        rounds=rounds,
        confidence=0.95,
        has_gold=has_gold,
        metric=metrics.get,
        verdicts=claimed(params),
    )


def tables(found):
    return {title: table for title, table, _ in game_view(found, game_charts(found))["parts"]}


def test_numbers_are_those_that_were_counted(params):
    found = comparison(params, ROUNDS, "gold")
    numbers = found.game.arms["dpo-adversarial-s0"]
    shown = tables(found)
    [(name, verdict, cells)] = shown["Who beats whom"].rows
    assert (name, verdict) == ("DPO adversarial, seed 0", numbers["dynamics"]["verdict"])
    assert cells[0].value == f"{100 * numbers['dynamics']['measures']['forgetting']['value']:+.1f}".replace("-", "−").replace("+0.0", "0.0")
    by_arm = {name: (verdict, cells) for name, verdict, cells in shown["Over-optimisation"].rows}
    assert by_arm["DPO adversarial, seed 0"][0] == numbers["over_optimisation"]["verdict"]
    shift = [(name, what, [cell.value for cell in cells]) for name, what, cells in shown["Distribution shift"].rows]
    assert ("DPO adversarial, seed 0", "r1", ["50.0", "100.0", "+50.0", "12"]) in shift and (
        "DPO base, seed 0",
        "r1",
        ["50.0", "–", "–", "12"],
    ) in shift
    assert ("SFT, seed 0", "–") in [(name, what) for name, what, _ in shown["Helpful and harmless"].rows]


@pytest.mark.parametrize("against", ["gold", "judge", ""])
@pytest.mark.parametrize("rounds", [ROUNDS, ["r1"]], ids=["two rounds", "one round"])
def test_every_kind_of_profile_is_drawn_and_said_in_its_own_words(params, rounds, against):
    found = comparison(params, rounds, against)
    charts, shown = game_charts(found), tables(found)
    assert set(charts) == {"ledger", "over_optimisation", *(["shift"] if against else []), *(["frontier"] if against == "gold" else [])}
    assert (shown["Distribution shift"] is None, shown["Helpful and harmless"] is None) == (not against, against != "gold")
    said = game_markdown(found) + "".join(chart.title + chart.text + "".join(chart.panels) for group in charts.values() for chart in group)
    said += "".join(table.caption + " ".join(table.heads) for table in shown.values() if table)
    words = said.lower().replace("golden", "")
    assert ("gold" in words) == (against == "gold")
    assert ("judge" in words) == (against == "judge")
    assert ("One round: there is nothing" in said) == (len(rounds) == 1)


def test_a_heat_map_a_kind_and_measure_of_the_first_seed_alone(params):
    found = comparison(params, ROUNDS, "gold")
    for reference in found.references:
        found.replicates[f"{reference.name}-s1"] = replace(reference, name=f"{reference.name}-s1", seed=1)
        found.game.frontier[f"{reference.name}-s1"] = found.game.frontier[f"{reference.name}-s0"]
    found.replicates["dpo-base-s1"] = arm_of("base", 1, ROUNDS, found.arms[0].rounds["r1"])
    found.game_arms.append(found.replicates["dpo-base-s1"])
    found.game.arms["dpo-base-s1"] = found.game.arms["dpo-base-s0"]
    found.game.frontier["dpo-base-s1"] = found.game.frontier["dpo-base-s0"]
    [chart] = game_charts(found)["ledger"]
    assert len(chart.panels) == 4 and "Seed 0; the others stand in the table." in chart.text
