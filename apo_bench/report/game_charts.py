"""The charts of the game: the ledger as heat maps, over-optimisation, distribution shift, frontier."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.patches import Rectangle

from apo_bench.comparison.numbers import UNITS, decimal
from apo_bench.comparison.results import Comparison, Policy
from apo_bench.core.layout import START_ROUND
from apo_bench.evaluation.metrics import FAULT_RATES, FAULTS_NAME, FAULTS_TITLE
from apo_bench.evaluation.statistics import Estimate
from apo_bench.game.frontier import pareto
from apo_bench.game.players import FIXED, GOLDEN
from apo_bench.report.charts import (
    REFERENCE_COLOUR,
    arm_style,
    axis_label,
    by_method,
    chart,
    draw_band,
    draw_cross,
    draw_path,
    draw_start,
    marked_references,
    method_names,
    references_told,
    shared_limits,
    trajectory,
)
from apo_bench.report.glossary import policy_title
from apo_bench.report.pictures import INK, WIDE_INCHES, Chart, Panel

HEAT_MAP, HEAT_RANGE = "PuOr_r", 0.78
"""Orange to violet through white, told apart with any of the common colour blindnesses; its darkest ends would hide the figures."""
DARK = 0.75
"""Share of the widest shade from which on figures are white."""
ROW_INCHES, FRAME_INCHES = 0.5, 1.0
"""Of a heat map: a row, and title with labels."""
Points = list[tuple[Estimate, Estimate]]


def ledger_charts(comparison: Comparison) -> list[Chart]:
    """A chart a method: accuracies and mean scores of each kind of reward model, of the first seed."""
    charts = []
    for method in method_names(comparison):
        arms = [arm for arm in comparison.game_arms if arm.method == method]
        shown = [arm for arm in arms if arm.seed == arms[0].seed]
        panels = [_heat_map(comparison, arm, what) for arm in shown for what in ("accuracy", "score")]
        seeds = "" if len(shown) == len(arms) else f" Seed {arms[0].seed}; the others stand in the table."
        text = (
            "Rows are reward models, columns policies. Left: how often the golden response scores above the policy’s, in %; right: the "
            f"mean score, coloured by how far it is from the golden one. ± half the {comparison.confidence:.0%} interval. Outlined: the "
            f"policy that a reward model was trained against.{seeds}"
        )
        charts.append(Chart(f"ledger-{method}", f"{method.upper()}: who beats whom", text, panels, most_columns=2))
    return charts


def _heat_map(comparison: Comparison, arm: Policy, what: str) -> Panel:
    assert comparison.game
    matrix = comparison.game.arms[arm.name]["matrix"]
    is_share = what == "accuracy"
    models = [name for name in (FIXED, *comparison.rounds) if name in matrix]
    policies = [START_ROUND, *comparison.rounds, *([] if is_share else [GOLDEN])]
    scale = 100 if is_share else 1
    values = [[scale * matrix[model][policy][what]["value"] for policy in policies] for model in models]
    middles = [50.0 if is_share else scale * matrix[model][GOLDEN]["score"]["value"] for model in models]
    shades = [[value - middle for value in row] for row, middle in zip(values, middles, strict=True)]
    widest = 50.0 if is_share else max(abs(shade) for row in shades for shade in row) or 1.0

    def draw(axes: Axes) -> None:
        axes.grid(False)
        norm = TwoSlopeNorm(0.0, -widest / HEAT_RANGE, widest / HEAT_RANGE)
        axes.pcolormesh(shades, cmap=HEAT_MAP, norm=norm, edgecolors="white", linewidth=1.5)
        for row, model in enumerate(models):
            for column, policy in enumerate(policies):
                estimate = matrix[model][policy][what]
                half = scale * (estimate["high"] - estimate["low"]) / 2
                figures = "\n±".join(decimal(number, 0 if is_share else 2) for number in (values[row][column], half))
                ink = "white" if abs(shades[row][column]) > DARK * widest else INK
                axes.text(column + 0.5, row + 0.5, figures, ha="center", va="center", fontsize=7.5, color=ink)
                if model in comparison.rounds and policies.index(model) == column + 1:
                    axes.add_patch(Rectangle((column + 0.04, row + 0.04), 0.92, 0.92, fill=False, edgecolor=INK, linewidth=1.3))
        axes.set(xticks=[n + 0.5 for n in range(len(policies))], xticklabels=["SFT" if p == START_ROUND else p for p in policies])
        axes.set(yticks=[n + 0.5 for n in range(len(models))], yticklabels=[f"RM_{name}" for name in models], ylim=(len(models), 0))
        for spine in axes.spines.values():
            spine.set_visible(False)

    title, measure = policy_title(arm), "golden above policy, %" if is_share else "mean score"
    told = "; ".join(f"RM_{model}: {', '.join(decimal(value, 2) for value in row)}" for model, row in zip(models, values, strict=True))
    description = f"{title}: {measure}. Policies {', '.join(policies)}. {told}."
    return Panel(
        f"ledger-{what}-{arm.name}", title, (measure, ""), draw, description, (WIDE_INCHES[0], FRAME_INCHES + ROW_INCHES * len(models))
    )


def over_optimisation_charts(comparison: Comparison) -> list[Chart]:
    """Paths of gold or RM_all: for the distance from SFT, and for the gain by the arm's own reward model."""
    reward, gold, kl = (comparison.metric(name) for name in ("reward_all", "gold", "kl_to_sft"))
    assert reward and kl  # every run has them, over all prompts
    target, distance = gold or reward, "distance from SFT, √nats"
    text = "A path an arm, from SFT through the rounds, for the square root of the divergence from SFT; bars are intervals."
    charts = []
    for metric in filter(None, (gold, reward)):
        found = {arm.name: list(zip(map(_root, trajectory(arm, kl)), trajectory(arm, metric), strict=True))
                 for arm in comparison.game_arms}  # fmt: skip
        name = f"{metric.name.replace('_', '-')}-against-root-kl"
        panels = _paths(comparison, found, name, (distance, axis_label(metric)))
        charts.append(chart(comparison, name, f"{metric.title} against √KL", text, panels))
    found = {arm.name: list(zip(_proxy(comparison, arm), trajectory(arm, target), strict=True)) for arm in comparison.game_arms}
    text = (
        "The proxy is what each round gained by the reward model that trained it, added up, in log-odds. Right and down is "
        "over-optimisation: the proxy is pleased, and what it stands for is not."
    )
    name = f"{target.name.replace('_', '-')}-against-own-reward-model"
    panels = _paths(comparison, found, name, ("gain by own reward model, log-odds", axis_label(target)))
    return [*charts, chart(comparison, name, f"{target.title} against the arm’s own reward model", text, panels)]


def _root(estimate: Estimate) -> Estimate:
    value, low, high = (max(0.0, end) ** 0.5 for end in (estimate.value, estimate.low, estimate.high))
    return Estimate(value, low, high, 0.0)  # no chart shows the standard error


def _proxy(comparison: Comparison, arm: Policy) -> list[Estimate]:
    assert comparison.game
    gains = comparison.game.arms[arm.name]["over_optimisation"]["proxy_gain"]
    return [Estimate(**gains[name]) for name in (START_ROUND, *comparison.rounds)]


def _paths(comparison: Comparison, points: dict[str, Points], name: str, labels: tuple[str, str]) -> list[Panel]:
    """A panel a method with the same axes: paths with the interval of each point."""
    xlim, ylim = (shared_limits(pair[axis] for found in points.values() for pair in found) for axis in (0, 1))

    def draw(axes: Axes, arms: list[Policy]) -> None:
        for arm in arms:
            found, style = points[arm.name], arm_style(comparison, arm)
            xs, ys = ([pair[axis].value for pair in found] for axis in (0, 1))
            for x, y in found[1:]:
                draw_cross(axes, x, y, style["color"])
            axes.plot(xs, ys, **style)
            draw_start(axes, xs[0], ys[0])
        axes.set(xlim=xlim, ylim=ylim)

    across, up = labels
    return by_method(comparison.game_arms, name, labels, draw, lambda arms: f"{up} against {across}, a path an arm from SFT on.")


def shift_chart(comparison: Comparison) -> Chart:
    """How well reward models judge what the policy of the moment says."""
    assert comparison.game
    games = comparison.game.arms
    against = "the order of gold" if comparison.game.shift_against == "gold" else "the judge’s verdicts"

    def draw(axes: Axes, arms: list[Policy]) -> None:
        axes.axhline(50, color=REFERENCE_COLOUR, linewidth=0.7)
        for arm in arms:
            rounds, style = games[arm.name]["shift"]["rounds"], arm_style(comparison, arm)
            grey = {"color": REFERENCE_COLOUR, "linestyle": ":", "marker": style["marker"], "markersize": 3}
            for what, drawn in (("own", style), ("base", grey)) if arm.reward_model != FIXED else (("own", style),):
                known = {comparison.rounds.index(name): Estimate(**found[what]) for name, found in rounds.items() if what in found}
                if known:
                    draw_band(axes, list(known), list(known.values()), drawn, UNITS["share"].scale)
        axes.set(xticks=range(len(comparison.rounds)), xticklabels=comparison.rounds)
        axes.margins(x=0.08, y=0.12)

    text = (
        f"Accuracy against {against} on what the policy of the moment says, with intervals. Coloured: the arm’s own reward model; grey and "
        "dotted: RM_base on the same responses of an arm whose reward model is retrained."
    )
    description = f"Accuracy of reward models against {against} on the policy's own responses by round."
    panels = by_method(comparison.game_arms, "shift", ("round", "% of pairs"), draw, lambda arms: description)
    return chart(comparison, "distribution-shift", "Reward models on the policy’s own responses", text, panels)


def frontier_chart(comparison: Comparison) -> Chart:
    """One fault against the other, and the policies that no other beats on both: means over replicates."""
    refusal, compliance = filter(None, map(comparison.metric, FAULT_RATES))  # without them there is no frontier
    points = {
        policy.name: [(_percent(values[refusal.name]), _percent(values[compliance.name])) for values in policy.path.values()]
        for policy in (*comparison.references, *comparison.arms)
    }
    xlim, ylim = (shared_limits(pair[axis] for found in points.values() for pair in found) for axis in (0, 1))
    values_MX = np.array([[x.value, y.value] for found in points.values() for x, y in found])
    [is_front_M] = pareto(values_MX[None, :, 0], values_MX[None, :, 1])
    best = np.unique(values_MX[is_front_M], axis=0)  # sorted

    def draw(axes: Axes, arms: list[Policy]) -> None:
        axes.step(*best.T, where="post", color=REFERENCE_COLOUR, linewidth=1, zorder=1)
        for marker, _, policy in marked_references(comparison):
            [(x, y)] = points[policy.name]
            axes.plot(x.value, y.value, marker, color=REFERENCE_COLOUR, markersize=8, zorder=5)
        for arm in arms:
            style: dict[str, Any] = arm_style(comparison, arm)
            for x, y in points[arm.name][-1:]:
                draw_cross(axes, x, y, style["color"])
            xs, ys = ([pair[axis].value for pair in points[arm.name]] for axis in (0, 1))
            draw_path(axes, xs, ys, style)
        axes.set(xlim=xlim, ylim=ylim)

    text = (
        "A path an arm from SFT through its rounds, the last one larger and with its interval; down and to the left is better. Grey line: "
        f"the frontier of all policies. {references_told(comparison)}."
    )
    labels = f"{refusal.title}, %", f"{compliance.title}, %"
    panels = by_method(comparison.arms, "frontier", labels, draw, lambda arms: f"{compliance.title} against {refusal.title} by round.")
    return chart(comparison, FAULTS_NAME, f"{FAULTS_TITLE} at once", text, panels)


def _percent(estimate: Estimate) -> Estimate:
    return Estimate(*(100 * value for value in (estimate.value, estimate.low, estimate.high, estimate.standard_error)))
