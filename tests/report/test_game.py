"""The section on the game: verdicts and numbers as they were counted, and words that fit the data."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from claimed import claimed
from games import played
from matplotlib.figure import Figure

from apo_bench.comparison.results import Policy
from apo_bench.evaluation.metrics import METRICS
from apo_bench.evaluation.statistics import Estimate
from apo_bench.game.results import Game
from apo_bench.report.game import game_section
from apo_bench.report.game_charts import frontier_chart, ledger_charts
from apo_bench.report.section import Part, as_markdown, figures, tables
from apo_bench.report.table import Table

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


def shown(found):
    """Title of a part -> its table, or what is said in its place."""
    return {part.title: part.blocks[0] for part in game_section(found).blocks if isinstance(part, Part)}


def rows_of(table):
    """Name, round or verdict, and the texts of the other cells."""
    return [(row.cells[0].text, row.cells[1].text, [cell.text for cell in row.cells[2:]]) for row in table.rows]


def test_numbers_are_those_that_were_counted(params):
    found = comparison(params, ROUNDS, "gold")
    numbers = found.game.arms["dpo-adversarial-s0"]
    parts = shown(found)
    [(name, verdict, cells)] = rows_of(parts["Who beats whom"])
    assert (name, verdict) == ("DPO adversarial, seed 0", numbers["dynamics"]["verdict"])
    assert cells[0] == f"{100 * numbers['dynamics']['measures']['forgetting']['value']:+.1f}".replace("-", "−").replace("+0.0", "0.0")
    verdicts = {name: verdict for name, verdict, _ in rows_of(parts["Over-optimisation"])}
    assert verdicts["DPO adversarial, seed 0"] == numbers["over_optimisation"]["verdict"]
    shift = rows_of(parts["Distribution shift"])
    assert ("DPO adversarial, seed 0", "r1", ["50.0", "100.0", "+50.0", "12"]) in shift
    assert ("DPO base, seed 0", "r1", ["50.0", "–", "–", "12"]) in shift
    assert ("SFT, seed 0", "–") in [(name, at) for name, at, _ in rows_of(parts["Helpful and harmless"])]


@pytest.mark.parametrize("against", ["gold", "judge", ""])
@pytest.mark.parametrize("rounds", [ROUNDS, ["r1"]], ids=["two rounds", "one round"])
def test_every_kind_of_profile_is_drawn_and_said_in_its_own_words(params, rounds, against):
    found = comparison(params, rounds, against)
    section, parts = game_section(found), shown(found)
    drawn = figures([section])
    assert any(chart.name.startswith("ledger") for chart in drawn) and any("own-reward-model" in chart.name for chart in drawn)
    assert [any(chart.name == name for chart in drawn) for name in ("distribution-shift", "helpful-and-harmless")] == [
        bool(against),
        against == "gold",
    ]
    assert isinstance(parts["Distribution shift"], Table) == bool(against)
    assert isinstance(parts["Helpful and harmless"], Table) == (against == "gold")
    said = as_markdown([section]) + "".join(
        " ".join((chart.title, chart.text, *(f"{panel.description} {panel.svg.decode()}" for panel in chart.panels))) for chart in drawn
    )
    words = said.lower().replace("golden", "")
    assert ("gold" in words) == (against == "gold")
    assert ("judge" in words) == (against == "judge")
    assert ("One round: there is nothing" in said) == (len(rounds) == 1)


def test_the_frontier_is_drawn_of_means_with_the_interval_of_the_last_round_alone(params):
    """Two replicates of an arm give one path; the front of equal points is one of them."""
    found = comparison(params, ROUNDS, "gold")
    found.game_arms = [*found.arms, found.arms[0]]
    [panel] = frontier_chart(found).panels
    axes = Figure().add_subplot()
    panel.onto(axes)
    paths = [line for line in axes.lines if len(line.get_xdata()) == 1 + len(ROUNDS)]
    crosses = [line for line in axes.lines if len(line.get_xdata()) == 2]
    assert len(paths) == len(found.arms) == 2 and len(crosses) == 2 * len(found.arms) and not axes.texts


def test_tables_of_the_ledger_hold_every_cell(params):
    found = comparison(params, ROUNDS, "gold")
    ledger = tables([game_section(found)])[-1]
    matrix = found.game.arms["dpo-adversarial-s0"]["matrix"]
    assert [(name, model) for name, model, _ in rows_of(ledger)] == [
        ("DPO base, seed 0", "RM_base"),
        *(("DPO adversarial, seed 0", f"RM_{model}") for model in matrix),
    ]


def test_a_heat_map_a_kind_and_measure_of_the_first_seed_alone(params):
    found = comparison(params, ROUNDS, "gold")
    for reference in found.references:
        found.replicates[f"{reference.name}-s1"] = replace(reference, name=f"{reference.name}-s1", seed=1)
        found.game.frontier[f"{reference.name}-s1"] = found.game.frontier[f"{reference.name}-s0"]
    found.replicates["dpo-base-s1"] = arm_of("base", 1, ROUNDS, found.arms[0].rounds["r1"])
    found.game_arms.append(found.replicates["dpo-base-s1"])
    found.game.arms["dpo-base-s1"] = found.game.arms["dpo-base-s0"]
    found.game.frontier["dpo-base-s1"] = found.game.frontier["dpo-base-s0"]
    [chart] = ledger_charts(found)
    assert len(chart.panels) == 4 and "Seed 0; the others stand in the table." in chart.text
