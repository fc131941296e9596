"""The charts of the page. A colour is a method, a line style and marker a reward model, in every chart."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from apo_bench.comparison.results import SFT, Comparison, Metric, Policy, measurable
from apo_bench.core.sections import START_ROUND
from apo_bench.evaluation.statistics import Estimate
from apo_bench.report.glossary import REWARD_MODEL_METRICS
from apo_bench.report.svg import PANEL_INCHES, SMALL_INCHES, WIDE_INCHES, Panel
from apo_bench.report.tables import UNITS, policy_title

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#332288")
"""Of methods. Source: Okabe & Ito 2008, told apart with any of the common colour blindnesses, but for the yellow, too pale on white; in
its place an indigo of Tol 2021."""
LINES = (("6 3", "o", False), ("", "o", True), ("2 2", "s", True), ("8 2 2 2", "D", True), ("1 2", "^", True), ("9 2 2 2 2 2", "v", True))
"""Of reward models: dashes in points, marker, whether the marker is filled."""
REFERENCE_COLOUR = "#6b7280"
REFERENCE_MARKERS = {"*": "★", "P": "✚", "X": "✖", "D": "◆"}
"""Of references: matplotlib's names, and what they look like in the text."""
BAND_ALPHA = 0.13
MIN_DOSES = 3
"""Of the game, for a chart of what it does."""
REWARD_MODEL_PANELS = {"human_accuracy": "%", "ece": "", "golden_accuracy": "%", "sample_accuracy": "%"}
"""Those of the reward models' metrics that are drawn, with their units."""

DOSE_PANELS = {"sample_accuracy": "%", "human_accuracy": "%", "ece": ""}


@dataclass(frozen=True)
class LegendEntry:
    """A line of the legend, drawn as a small SVG by the page."""

    label: str
    colour: str
    dashes: str
    filled: bool
    has_line: bool = True


@dataclass(frozen=True)
class Chart:
    """A figure of the page: panels beside each other."""

    title: str
    text: str
    panels: list[str]
    most_columns: int = 4
    """Panels beside each other at most."""
    has_key: bool = True
    """Whether its colours and lines are those of the legend."""


def legend(comparison: Comparison) -> list[LegendEntry]:
    """What colours and lines mean: methods, then reward models."""
    methods = dict.fromkeys(str(arm.method) for arm in comparison.arms)
    kinds = dict.fromkeys(str(arm.reward_model) for arm in comparison.arms)
    entries = [LegendEntry(method.upper(), COLOURS[number % len(COLOURS)], "", True, False) for number, method in enumerate(methods)]
    for number, kind in enumerate(kinds):
        dashes, _, filled = LINES[number % len(LINES)]
        entries.append(LegendEntry(f"{kind} reward model", "#33383f", dashes, filled))
    return entries


def charts(comparison: Comparison) -> list[Chart]:
    """All charts, in the order of the page; those of gold only if it is known."""
    reward, gold = comparison.metric("reward_all"), comparison.metric("gold")
    assert reward  # every run has it, over all prompts
    level = f"{comparison.confidence:.0%}"
    text = f"Bands are {level} intervals; the grey line is SFT, where every arm starts."
    drawn = [Chart("Score by RM_all, round by round", text, _by_round(comparison, reward))]
    if gold:
        drawn.append(Chart("Gold, round by round", "The same for the true reward.", _by_round(comparison, gold)))
        text = (
            "A path an arm, from SFT (star) through the rounds (numbers). Up and to the right is progress; right and level or down is "
            "over-optimisation: RM_all is pleased, the true reward is not."
        )
        drawn.append(Chart("Gold against RM_all", text, _paths(comparison, reward, gold)))
    doses = [_dose_chart(comparison, gold or reward)] if len(comparison.doses) >= MIN_DOSES else []
    return [*drawn, _reward_model_chart(comparison), *doses, _cost_chart(comparison, gold or reward)]


def _reward_model_chart(comparison: Comparison) -> Chart:
    error = comparison.fixed_reward_models["base"]["human_accuracy_standard_error"]
    text = (
        "First agreement with held-out human labels, and how far its probabilities are off; then how well it judges the policy of the "
        f"moment. The base model never changes, what it has to judge does. Standard error of the first: {100 * error:.1f} points."
    )
    metrics = measurable(REWARD_MODEL_PANELS, comparison.has_gold)
    inches = SMALL_INCHES if len(metrics) == 4 else PANEL_INCHES
    return Chart("The reward models, round by round", text, [_reward_model_panel(comparison, metric, inches) for metric in metrics])


def _dose_chart(comparison: Comparison, score: Metric) -> Chart:
    """What policies and reward models are after the last round for the weight of the game, alpha."""
    last, kinds = comparison.rounds[-1], comparison.doses
    metrics = measurable(DOSE_PANELS, comparison.has_gold)
    panels = []
    for title, unit, value in [
        (score.title, axis_label(score), lambda arm: arm.rounds[last][score.name].value),
        *(_dose_of(comparison, metric, last) for metric in metrics),
    ]:
        panel = Panel(title, "alpha", unit, SMALL_INCHES)
        told = []
        for method in method_names(comparison):
            arms = {arm.reward_model: arm for arm in comparison.arms if arm.method == method}
            heights = [value(arms[kind]) for kind in kinds]
            style = arm_style(comparison, arms["adversarial"])
            panel.axes.plot(range(len(kinds)), heights, **style)
            if title == score.title:
                ends = [(arms[kind].rounds[last][score.name].low, arms[kind].rounds[last][score.name].high) for kind in kinds]
                panel.axes.vlines(range(len(kinds)), *zip(*ends, strict=True), color=style["color"], linewidth=0.8)
            told.append(f"{method.upper()}: {', '.join(f'{height:.2f}' for height in heights)}")
        panel.axes.set(xticks=range(len(kinds)), xticklabels=[f"{alpha:g}" for alpha in kinds.values()])
        panel.axes.margins(x=0.08, y=0.15)
        panels.append(
            panel.svg(f"dose-{title}", f"{title} after {last} by alpha {', '.join(f'{a:g}' for a in kinds.values())}. {'; '.join(told)}.")
        )
    text = (
        f"After {last}: {score.title} with intervals, then the reward models: how well they judge the policy of the moment, agreement with "
        "held-out human labels, and how far their probabilities are off. Alpha 0: trained as long on human pairs alone; the paper has 0.1."
    )
    return Chart("How much of the game", text, panels)


def _dose_of(comparison: Comparison, metric: str, last: str) -> tuple[str, str, Callable[[Policy], float]]:
    """Title, unit and value of a panel."""
    title, _ = REWARD_MODEL_METRICS[metric]
    is_share = DOSE_PANELS[metric] == "%"
    unit = "% of pairs" if is_share else "mean gap of probabilities"
    return title, unit, lambda arm: (100 if is_share else 1) * comparison.reward_models[arm.name][last][metric]


def _cost_chart(comparison: Comparison, score: Metric) -> Chart:
    """A score for the distance from SFT; gold also on either kind of prompt, if there are both."""
    text, panels = f"{score.title} for the distance from SFT.", [_moved_panel(comparison, score)]
    if comparison.has_gold:
        text = "Gold on either kind of prompt after the last round, with intervals, and gold for the distance from SFT."
    helpful, harmless = comparison.metric("gold_helpful"), comparison.metric("gold_harmless")
    if helpful and harmless:
        panels.insert(0, _trade_panel(comparison, helpful, harmless))
    grey = ", ".join(
        f"{sign} {policy_title(policy)}" for sign, policy in zip(REFERENCE_MARKERS.values(), comparison.references, strict=True)
    )
    return Chart("What it costs", f"{text} In grey: {grey}.", panels)


def arm_style(comparison: Comparison, arm: Policy) -> dict[str, Any]:
    """How matplotlib is to draw an arm's line."""
    methods = list(dict.fromkeys(policy.method for policy in comparison.arms))
    kinds = list(dict.fromkeys(policy.reward_model for policy in comparison.arms))
    colour = COLOURS[methods.index(arm.method) % len(COLOURS)]
    dashes, marker, filled = LINES[kinds.index(arm.reward_model) % len(LINES)]
    pattern = (0, tuple(float(length) / 1.6 for length in dashes.split())) if dashes else "-"
    return {"color": colour, "linestyle": pattern, "marker": marker, "markerfacecolor": colour if filled else "white"}


def method_names(comparison: Comparison) -> list[str]:
    """In the order of params.run."""
    return list(dict.fromkeys(str(arm.method) for arm in comparison.arms))


def trajectory(arm: Policy, metric: Metric) -> list[Estimate]:
    """SFT's estimate, then the arm's of each round, on the prompts that all rounds answered."""
    return [values[metric.name] for values in arm.path.values()]


def axis_label(metric: Metric) -> str:
    """A metric's title and unit."""
    unit = {"score": "mean score", "share": "share of prompts"}.get(metric.unit, UNITS[metric.unit])
    return f"{metric.title}, {unit}"


def shared_limits(estimates: Iterable[Estimate]) -> tuple[float, float]:
    """Limits of an axis that panels share."""
    ends = [end for estimate in estimates for end in (estimate.low, estimate.high)]
    margin = 0.06 * (max(ends) - min(ends) or 1)
    return min(ends) - margin, max(ends) + margin


def _by_round(comparison: Comparison, metric: Metric) -> list[str]:
    limits = shared_limits(estimate for arm in comparison.arms for estimate in trajectory(arm, metric))
    panels = []
    for method in method_names(comparison):
        panel = Panel(method.upper(), "round", axis_label(metric))
        start = comparison.policies[SFT].path[START_ROUND][metric.name]
        panel.axes.axhline(start.value, color=REFERENCE_COLOUR, linewidth=1)
        told = []
        for arm in (arm for arm in comparison.arms if arm.method == method):
            points = trajectory(arm, metric)
            style = arm_style(comparison, arm)
            x = range(len(points))
            panel.axes.fill_between(
                x, [p.low for p in points], [p.high for p in points], color=style["color"], alpha=BAND_ALPHA, linewidth=0
            )
            panel.axes.plot(x, [p.value for p in points], **style)
            told.append(f"{policy_title(arm)}: {', '.join(f'{p.value:.2f}' for p in points)}")
        panel.axes.set(ylim=limits, xticks=range(len(comparison.rounds) + 1), xticklabels=["SFT", *comparison.rounds])
        panels.append(panel.svg(f"{metric.name}-{method}", f"{metric.title} by round from SFT on. {'; '.join(told)}."))
    return panels


def _paths(comparison: Comparison, across: Metric, up: Metric) -> list[str]:
    xlim, ylim = (
        shared_limits(Estimate(p.value, p.value, p.value, 0) for arm in comparison.arms for p in trajectory(arm, metric))
        for metric in (across, up)
    )
    panels = []
    for method in method_names(comparison):
        panel = Panel(method.upper(), axis_label(across), axis_label(up))
        for arm in (arm for arm in comparison.arms if arm.method == method):
            xs, ys = ([p.value for p in trajectory(arm, metric)] for metric in (across, up))
            style = arm_style(comparison, arm)
            panel.axes.plot(xs, ys, **style)
            for number, (x, y) in enumerate(zip(xs[1:], ys[1:], strict=True), start=1):
                panel.axes.annotate(str(number), (x, y), xytext=(4, -9), textcoords="offset points", fontsize=7.5, color=style["color"])
        panel.axes.plot(xs[0], ys[0], next(iter(REFERENCE_MARKERS)), color=REFERENCE_COLOUR, markersize=10, zorder=5)
        panel.axes.set(xlim=xlim, ylim=ylim)
        panels.append(
            panel.svg(f"path-{method}", f"{method.upper()}: path of gold against RM_all from SFT through the rounds, one an arm.")
        )
    return panels


def _reward_model_panel(comparison: Comparison, metric: str, inches: tuple[float, float]) -> str:
    title, _ = REWARD_MODEL_METRICS[metric]
    is_share = REWARD_MODEL_PANELS[metric] == "%"
    scale = 100 if is_share else 1
    panel = Panel(title, "round", "% of pairs" if is_share else "mean gap of probabilities", inches)
    fixed = comparison.fixed_reward_models["base"].get(metric)
    if fixed is not None:
        panel.axes.axhline(scale * fixed, color=REFERENCE_COLOUR, linewidth=1.2, linestyle=(0, (3.75, 1.9)))
        panel.axes.annotate(
            "RM_base", (0.01, scale * fixed), xycoords=("axes fraction", "data"), va="bottom", color=REFERENCE_COLOUR, fontsize=7.5
        )
    for arm in comparison.arms:
        values = comparison.reward_models[arm.name]
        known = [(number, scale * values[name][metric]) for number, name in enumerate(comparison.rounds) if metric in values[name]]
        if known and (fixed is None or arm.reward_model != "base"):
            panel.axes.plot(*zip(*known, strict=True), **arm_style(comparison, arm))
    panel.axes.set(xticks=range(len(comparison.rounds)), xticklabels=comparison.rounds)
    panel.axes.margins(x=0.08, y=0.15)
    return panel.svg(f"reward-model-{metric}", f"{title} of each arm's reward model by round.")


def _trade_panel(comparison: Comparison, across: Metric, up: Metric) -> str:
    panel = Panel("Helpful against harmless", axis_label(across), axis_label(up), WIDE_INCHES)
    for policy, marker in zip_longest([*comparison.references, *comparison.arms], REFERENCE_MARKERS):
        x, y = (policy.rounds[policy.last_round][metric.name] for metric in (across, up))
        grey: dict[str, Any] = {"color": REFERENCE_COLOUR, "marker": marker, "markersize": 8}
        style = {**(arm_style(comparison, policy) if policy.is_arm else grey), "linestyle": "none"}
        panel.axes.plot([x.low, x.high], [y.value, y.value], color=style["color"], linewidth=0.8)
        panel.axes.plot([x.value, x.value], [y.low, y.high], color=style["color"], linewidth=0.8)
        panel.axes.plot(x.value, y.value, **style)
    return panel.svg("helpful-harmless", "Gold on harmless questions against gold on harmful requests, all policies after the last round.")


def _moved_panel(comparison: Comparison, score: Metric) -> str:
    kl = comparison.metric("kl_to_sft")
    assert kl  # over all prompts, so never left out
    panel = Panel(f"{score.title} for distance", axis_label(kl), axis_label(score), WIDE_INCHES)
    for arm in comparison.arms:
        xs, ys = (trajectory(arm, metric) for metric in (kl, score))
        panel.axes.plot([p.value for p in xs], [p.value for p in ys], **arm_style(comparison, arm))
    for policy, marker in zip(comparison.references, REFERENCE_MARKERS, strict=True):
        x, y = (policy.rounds[policy.last_round][metric.name].value for metric in (kl, score))
        panel.axes.plot(x, y, marker, color=REFERENCE_COLOUR, markersize=8, zorder=5)
    return panel.svg(f"{score.name}-kl", f"{score.title} against the divergence from SFT, a path an arm through the rounds.")
