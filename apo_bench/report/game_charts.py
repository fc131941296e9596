"""The charts of the game: the ledger as heat maps, over-optimisation, distribution shift, frontier."""

from collections.abc import Callable
from typing import Any

from matplotlib.colors import TwoSlopeNorm
from matplotlib.patches import Rectangle

from apo_bench.comparison.results import Comparison, Policy
from apo_bench.core.layout import reference_name
from apo_bench.core.sections import START_ROUND
from apo_bench.evaluation.statistics import Estimate
from apo_bench.game.players import FIXED, GOLDEN
from apo_bench.report.charts import (
    BAND_ALPHA,
    REFERENCE_COLOUR,
    REFERENCE_MARKERS,
    Chart,
    arm_style,
    axis_label,
    method_names,
    shared_limits,
    trajectory,
)
from apo_bench.report.svg import INK, PANEL_INCHES, WIDE_INCHES, Panel
from apo_bench.report.tables import decimal, policy_title

HEAT_MAP, HEAT_RANGE = "PuOr_r", 0.78
"""Orange to violet through white, told apart with any of the common colour blindnesses; its darkest ends would hide the figures."""
DARK = 0.75
"""Share of the widest shade from which on figures are white."""
ROW_INCHES, FRAME_INCHES = 0.5, 0.85
"""Of a heat map: a row, and title with labels."""
Points = list[tuple[Estimate, Estimate]]


def game_charts(comparison: Comparison) -> dict[str, list[Chart]]:
    """Charts by part of the section: `ledger`, `over_optimisation`, `shift` and `frontier`; none of what is unknown."""
    game = comparison.game
    if game is None:
        return {}
    drawn = {"ledger": _ledger_charts(comparison), "over_optimisation": _over_optimisation_charts(comparison)}
    if game.shift_against:
        drawn["shift"] = [_shift_chart(comparison)]
    if game.frontier:
        drawn["frontier"] = [_frontier_chart(comparison)]
    return drawn


def _arms(comparison: Comparison, method: str) -> list[Policy]:
    return [arm for arm in comparison.game_arms if arm.method == method]


def _ledger_charts(comparison: Comparison) -> list[Chart]:
    """A chart a method: accuracies and mean scores of each kind of reward model, of the first seed."""
    charts = []
    for method in method_names(comparison):
        arms = _arms(comparison, method)
        shown = [arm for arm in arms if arm.seed == arms[0].seed]
        panels = [_heat_map(comparison, arm, what) for arm in shown for what in ("accuracy", "score")]
        seeds = "" if len(shown) == len(arms) else f" Seed {arms[0].seed}; the others stand in the table."
        text = (
            "Rows are reward models, columns policies. Left: how often the golden response scores above the policy’s, in %; right: the "
            f"mean score, coloured by how far it is from the golden one. ± half the {comparison.confidence:.0%} interval. Outlined: the "
            f"policy that a reward model was trained against.{seeds}"
        )
        charts.append(Chart(f"{method.upper()}: who beats whom", text, panels, most_columns=2, has_key=False))
    return charts


def _heat_map(comparison: Comparison, arm: Policy, what: str) -> str:
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
    title = f"{policy_title(arm)}: {'golden above policy, %' if is_share else 'mean score'}"
    panel = Panel(title, "", "", (WIDE_INCHES[0], FRAME_INCHES + ROW_INCHES * len(models)))
    axes = panel.axes
    axes.grid(False)
    norm = TwoSlopeNorm(0.0, -widest / HEAT_RANGE, widest / HEAT_RANGE)
    axes.pcolormesh(shades, cmap=HEAT_MAP, norm=norm, edgecolors="white", linewidth=1.5)
    for row, model in enumerate(models):
        for column, policy in enumerate(policies):
            estimate = matrix[model][policy][what]
            half = scale * (estimate["high"] - estimate["low"]) / 2
            places = 0 if is_share else 2
            figures = f"{decimal(values[row][column], places)}\n±{decimal(half, places)}"
            ink = "white" if abs(shades[row][column]) > DARK * widest else INK
            axes.text(column + 0.5, row + 0.5, figures, ha="center", va="center", fontsize=7.5, color=ink)
            if model in comparison.rounds and policies.index(model) == column + 1:
                axes.add_patch(Rectangle((column + 0.04, row + 0.04), 0.92, 0.92, fill=False, edgecolor=INK, linewidth=1.3))
    axes.set(xticks=[n + 0.5 for n in range(len(policies))], xticklabels=["SFT" if p == START_ROUND else p for p in policies])
    axes.set(yticks=[n + 0.5 for n in range(len(models))], yticklabels=[f"RM_{name}" for name in models], ylim=(len(models), 0))
    for spine in axes.spines.values():
        spine.set_visible(False)
    told = "; ".join(f"RM_{model}: {', '.join(f'{value:.2f}' for value in row)}" for model, row in zip(models, values, strict=True))
    return panel.svg(f"ledger-{what}-{arm.name}", f"{title}. Policies {', '.join(policies)}. {told}.")


def _over_optimisation_charts(comparison: Comparison) -> list[Chart]:
    reward, gold, kl = (comparison.metric(name) for name in ("reward_all", "gold", "kl_to_sft"))
    assert reward and kl  # every run has them, over all prompts
    target, distance = gold or reward, "distance from SFT, √nats"
    text = "A path an arm, from SFT through the rounds, for the square root of the divergence from SFT; bars are intervals."
    charts = []
    for metric in filter(None, (gold, reward)):
        found = {arm.name: list(zip(map(_root, trajectory(arm, kl)), trajectory(arm, metric), strict=True))
                 for arm in comparison.game_arms}  # fmt: skip
        name = f"root-kl-{metric.name}"
        charts.append(Chart(f"{metric.title} against √KL", text, _paths(comparison, found, name, distance, axis_label(metric))))
    found = {arm.name: list(zip(_proxy(comparison, arm), trajectory(arm, target), strict=True)) for arm in comparison.game_arms}
    title = f"{target.title} against the arm’s own reward model"
    text = (
        "The proxy is what each round gained by the reward model that trained it, added up, in log-odds. Right and down is "
        "over-optimisation: the proxy is pleased, and what it stands for is not."
    )
    panels = _paths(comparison, found, "proxy", "gain by own reward model, log-odds", axis_label(target))
    return [*charts, Chart(title, text, panels)]


def _root(estimate: Estimate) -> Estimate:
    value, low, high = (max(0.0, end) ** 0.5 for end in (estimate.value, estimate.low, estimate.high))
    return Estimate(value, low, high, 0.0)  # no chart shows the standard error


def _proxy(comparison: Comparison, arm: Policy) -> list[Estimate]:
    assert comparison.game
    gains = comparison.game.arms[arm.name]["over_optimisation"]["proxy_gain"]
    return [Estimate(**gains[name]) for name in (START_ROUND, *comparison.rounds)]


def _paths(comparison: Comparison, points: dict[str, Points], name: str, xlabel: str, ylabel: str) -> list[str]:
    """A panel a method with the same axes: paths with the interval of each point."""
    xlim, ylim = (shared_limits(pair[axis] for found in points.values() for pair in found) for axis in (0, 1))

    def draw(panel: Panel, arm: Policy) -> None:
        found, style = points[arm.name], arm_style(comparison, arm)
        xs, ys = ([pair[axis].value for pair in found] for axis in (0, 1))
        for x, y in found[1:]:
            panel.axes.plot([x.low, x.high], [y.value, y.value], color=style["color"], linewidth=0.7, alpha=0.7)
            panel.axes.plot([x.value, x.value], [y.low, y.high], color=style["color"], linewidth=0.7, alpha=0.7)
        panel.axes.plot(xs, ys, **style)
        panel.axes.plot(xs[0], ys[0], next(iter(REFERENCE_MARKERS)), color=REFERENCE_COLOUR, markersize=10, zorder=5)
        panel.axes.set(xlim=xlim, ylim=ylim)

    return _by_method(comparison, name, xlabel, ylabel, draw, f"{ylabel} against {xlabel}, a path an arm from SFT on")


def _by_method(
    comparison: Comparison, name: str, xlabel: str, ylabel: str, draw: Callable[[Panel, Policy], None], description: str
) -> list[str]:
    panels = []
    for method in method_names(comparison):
        panel = Panel(method.upper(), xlabel, ylabel, PANEL_INCHES)
        for arm in _arms(comparison, method):
            draw(panel, arm)
        panels.append(panel.svg(f"game-{name}-{method}", f"{method.upper()}: {description}."))
    return panels


def _shift_chart(comparison: Comparison) -> Chart:
    assert comparison.game
    arms = comparison.game.arms
    against = "the order of gold" if comparison.game.shift_against == "gold" else "the judge’s verdicts"

    def draw(panel: Panel, arm: Policy) -> None:
        rounds, style = arms[arm.name]["shift"]["rounds"], arm_style(comparison, arm)
        grey = {"color": REFERENCE_COLOUR, "linestyle": ":", "marker": style["marker"], "markersize": 3}
        panel.axes.axhline(50, color=REFERENCE_COLOUR, linewidth=0.7)
        for what, drawn in (("own", style), ("base", grey)) if arm.reward_model != FIXED else (("own", style),):
            known = [(comparison.rounds.index(name), found[what]) for name, found in rounds.items() if what in found]
            xs: list[int] = [x for x, _ in known]
            low, value, high = ([100 * found[end] for _, found in known] for end in ("low", "value", "high"))
            panel.axes.fill_between(xs, low, high, color=drawn["color"], alpha=BAND_ALPHA, linewidth=0)
            panel.axes.plot(xs, value, **drawn)
        panel.axes.set(xticks=range(len(comparison.rounds)), xticklabels=comparison.rounds)
        panel.axes.margins(x=0.08, y=0.12)

    text = (
        f"Accuracy against {against} on what the policy of the moment says, with intervals. Coloured: the arm’s own reward model; grey and "
        "dotted: RM_base on the same responses of an arm whose reward model is retrained."
    )
    description = f"accuracy of reward models against {against} on the policy's own responses by round"
    panels = _by_method(comparison, "shift", "round", "% of pairs", draw, description)
    return Chart("Reward models on the policy’s own responses", text, panels)


def _frontier_chart(comparison: Comparison) -> Chart:
    assert comparison.game
    standing = comparison.game.frontier
    refusal, compliance = comparison.metric("refusal_rate"), comparison.metric("compliance_rate")
    assert refusal and compliance  # else there is no frontier
    rates = {
        (policy, name): tuple(_percent(comparison.replicates[policy].path[name][metric.name]) for metric in (refusal, compliance))
        for policy, rounds in standing.items()
        for name in rounds
    }
    xlim, ylim = (shared_limits(pair[axis] for pair in rates.values()) for axis in (0, 1))
    best = sorted({(x.value, y.value) for (name, round_id), (x, y) in rates.items() if standing[name][round_id]["is_pareto"]})

    def draw(panel: Panel, arm: Policy) -> None:
        style: dict[str, Any] = arm_style(comparison, arm)
        panel.axes.step(*zip(*best, strict=True), where="post", color=REFERENCE_COLOUR, linewidth=1, zorder=1)
        for policy, marker in zip(comparison.references, REFERENCE_MARKERS, strict=True):
            x, y = rates[reference_name(policy.name, arm.seed or 0), policy.last_round]
            panel.axes.plot(x.value, y.value, marker, color=REFERENCE_COLOUR, markersize=8)
        points = [rates[arm.name, name] for name in arm.rounds]
        for x, y in points:
            panel.axes.plot([x.low, x.high], [y.value, y.value], color=style["color"], linewidth=0.7, alpha=0.7)
            panel.axes.plot([x.value, x.value], [y.low, y.high], color=style["color"], linewidth=0.7, alpha=0.7)
        panel.axes.plot([x.value for x, _ in points], [y.value for _, y in points], **style)
        for name, (x, y) in zip(arm.rounds, points, strict=True):
            panel.axes.annotate(name[1:], (x.value, y.value), xytext=(4, 3), textcoords="offset points", fontsize=7.5, color=style["color"])
        panel.axes.set(xlim=xlim, ylim=ylim)

    grey = ", ".join(
        f"{sign} {policy_title(policy)}" for sign, policy in zip(REFERENCE_MARKERS.values(), comparison.references, strict=True)
    )
    text = f"A path an arm through its rounds (numbers); down and to the left is better. Grey line: the frontier of all policies. {grey}."
    description = "harmful compliance against over-refusal by round"
    panels = _by_method(comparison, "frontier", f"{refusal.title}, %", f"{compliance.title}, %", draw, description)
    return Chart("Helpful and harmless at once", text, panels)


def _percent(estimate: Estimate) -> Estimate:
    return Estimate(*(100 * value for value in (estimate.value, estimate.low, estimate.high, estimate.standard_error)))
