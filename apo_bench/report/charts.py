"""The charts of the page. A colour is a method, a line style and marker a reward model, in every chart."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain, cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from apo_bench.comparison.numbers import UNITS, decimal, number
from apo_bench.comparison.results import Comparison, Policy
from apo_bench.core.layout import SFT, START_ROUND
from apo_bench.evaluation.metrics import GOLD_SIDES, Metric, measurable
from apo_bench.evaluation.statistics import Estimate, over_replicates
from apo_bench.report.glossary import REWARD_MODEL_METRICS, policy_title, prompts_of
from apo_bench.report.pictures import INK, PANEL_INCHES, SMALL_INCHES, WIDE_INCHES, Chart, Key, Panel

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#332288")
"""Of methods. Source: Okabe & Ito 2008, told apart with any of the common colour blindnesses, but for the yellow, too pale on white; in
its place an indigo of Tol 2021."""
LINES = (("6 3", "o", False), ("", "o", True), ("2 2", "s", True), ("8 2 2 2", "D", True), ("1 2", "^", True), ("9 2 2 2 2 2", "v", True))
"""Of reward models: dashes in points, marker, whether the marker is filled."""
REFERENCE_COLOUR = "#6b7280"
REFERENCE_MARKERS = {"*": "★", "P": "✚", "X": "✖", "D": "◆"}
"""Of references: matplotlib's names, and what they look like in the text."""
OWN_MARKERS = {">": "►", "<": "◄", "s": "■"}
"""The same of those of one's own; then from the first again."""
BAND_ALPHA, FAINT_ALPHA = 0.13, 0.04
"""Of the bands of a method's arms, and of those of all arms together."""
LAST_SIZE = 7.5
"""Of the marker of the last round."""
MIN_DOSES = 3
"""Of the game, for a chart of what it does."""
REWARD_MODEL_PANELS = ("human_accuracy", "ece", "golden_accuracy", "sample_accuracy")
DOSE_PANELS = ("sample_accuracy", "human_accuracy", "ece")
AXES = {"score": "mean score", "share": "share of prompts, %", "error": "mean gap of probabilities"}
"""What stands beside an axis; other units are called by their sign."""


def keys(comparison: Comparison) -> list[Key]:
    """What colours and lines mean: methods, then reward models."""
    methods = [Key(method.upper(), COLOURS[at % len(COLOURS)], has_line=False) for at, method in enumerate(method_names(comparison))]
    kinds = dict.fromkeys(str(arm.reward_model) for arm in comparison.arms)
    return [*methods, *(Key(f"{kind} reward model", INK, *LINES[at % len(LINES)]) for at, kind in enumerate(kinds))]


def charts(comparison: Comparison) -> list[Chart]:
    """All charts but those of sections of their own, in the order of the page; those of gold only if it is known."""
    reward, gold = comparison.metric("reward_all"), comparison.metric("gold")
    assert reward  # every run has it, over all prompts
    text = f"Bands are {comparison.confidence:.0%} intervals; the grey line is SFT, where every arm starts."
    drawn = [chart(comparison, "rm-all-by-round", "Score by RM_all, round by round", text, _by_round(comparison, reward))]
    if gold:
        text = "The same for the true reward."
        drawn.append(chart(comparison, "gold-by-round", "Gold, round by round", text, _by_round(comparison, gold)))
        text = (
            "A path an arm, from SFT (star) through the rounds, the last one larger. Up and to the right is progress; right and level or "
            "down is over-optimisation: RM_all is pleased, the true reward is not."
        )
        drawn.append(chart(comparison, "gold-against-rm-all", "Gold against RM_all", text, _paths(comparison, reward, gold)))
    doses = [_dose_chart(comparison, gold or reward)] if len(comparison.doses) >= MIN_DOSES else []
    return [*drawn, _reward_model_chart(comparison), *doses, _cost_chart(comparison, gold or reward)]


def chart(comparison: Comparison, name: str, title: str, text: str, panels: list[Panel]) -> Chart:
    """A chart whose colours and lines are those of the comparison."""
    return Chart(name, title, text, panels, keys(comparison))


def by_method(
    arms: list[Policy], name: str, labels: tuple[str, str], draw: Callable[..., object], told: Callable[[list[Policy]], str]
) -> list[Panel]:
    """A panel a method; `draw` gets the axes and, as `arms`, the method's."""
    panels = []
    for method in dict.fromkeys(str(arm.method) for arm in arms):
        mine = [arm for arm in arms if arm.method == method]
        panels.append(Panel(f"{name}-{method}", method.upper(), labels, partial(draw, arms=mine), told(mine)))
    return panels


def measured(comparison: Comparison, arm: Policy, metric: str) -> dict[str, Estimate]:
    """Round -> a metric of the arm's reward model, with an interval over replicates; of one replicate without (NaN)."""
    found = {}
    for round_id, numbers in comparison.reward_models[arm.name].items():
        if metric in numbers:
            members = [comparison.reward_models.get(name, {}).get(round_id, {}) for name in arm.members]
            values = np.array([values[metric] for values in members if metric in values])
            alone = Estimate(numbers[metric], np.nan, np.nan, np.nan)
            found[round_id] = over_replicates(values, comparison.confidence) if len(values) > 1 else alone
    return found


def _reward_model_chart(comparison: Comparison) -> Chart:
    error = number(comparison.fixed_reward_models["base"]["human_accuracy_standard_error"], "points")
    one, several = f"Standard error of the first: {error} points.", f"Bands are {comparison.confidence:.0%} intervals over replicates."
    text = (
        "First agreement with held-out human labels, and how far its probabilities are off; then how well it judges the policy of the "
        f"moment. RM_base (dashed and grey) never changes, what it has to judge does. {several if len(comparison.seeds) > 1 else one}"
    )
    metrics = measurable(REWARD_MODEL_PANELS, comparison.has_gold)
    inches = SMALL_INCHES if len(metrics) == 4 else PANEL_INCHES
    panels = [_reward_model_panel(comparison, metric, inches) for metric in metrics]
    return chart(comparison, "reward-models-by-round", "The reward models, round by round", text, panels)


def _reward_model_panel(comparison: Comparison, metric: str, inches: tuple[float, float]) -> Panel:
    column = REWARD_MODEL_METRICS[metric]
    scale, fixed = UNITS[column.unit].scale, comparison.fixed_reward_models["base"].get(metric)
    curves = {arm.name: measured(comparison, arm, metric) for arm in comparison.arms if fixed is None or arm.reward_model != "base"}

    def draw(axes: Axes) -> None:
        if fixed is not None:
            axes.axhline(scale * fixed, color=REFERENCE_COLOUR, linewidth=1.2, linestyle=(0, (3.75, 1.9)))
        for arm in comparison.arms:
            if known := curves.get(arm.name):
                draw_band(
                    axes, list(map(comparison.rounds.index, known)), list(known.values()), arm_style(comparison, arm), scale, FAINT_ALPHA
                )
        axes.set(xticks=range(len(comparison.rounds)), xticklabels=comparison.rounds)
        axes.margins(x=0.08, y=0.15)

    description = f"{column.title} of each arm's reward model by round."
    return Panel(f"reward-model-{metric}", column.title, ("round", _pairs_label(metric)), draw, description, inches)


def _pairs_label(metric: str) -> str:
    return "% of pairs" if REWARD_MODEL_METRICS[metric].unit == "share" else AXES["error"]


def _dose_chart(comparison: Comparison, score: Metric) -> Chart:
    """What policies and reward models are after the last round for the weight of the game, alpha."""
    last = comparison.rounds[-1]
    panels = [_dose_panel(comparison, score.name, score.title, axis_label(score), lambda arm: arm.rounds[last][score.name])]
    for metric in measurable(DOSE_PANELS, comparison.has_gold):
        of_arm = partial(lambda arm, metric: measured(comparison, arm, metric)[last], metric=metric)
        column = REWARD_MODEL_METRICS[metric]
        panels.append(_dose_panel(comparison, metric, column.title, _pairs_label(metric), of_arm, UNITS[column.unit].scale))
    text = (
        f"After {last}: {score.title} with intervals, then the reward models: how well they judge the policy of the moment, agreement with "
        "held-out human labels, and how far their probabilities are off. Alpha 0: trained as long on human pairs alone; the paper has 0.1."
    )
    return chart(comparison, "dose-of-the-game", "How much of the game", text, panels)


def _dose_panel(comparison: Comparison, name: str, title: str, label: str, of_arm: Callable[[Policy], Estimate], scale: float = 1) -> Panel:
    kinds = comparison.doses
    found = {m: [arm for kind in kinds for arm in comparison.arms if (arm.method, arm.reward_model) == (m, kind)]
             for m in method_names(comparison)}  # fmt: skip

    def draw(axes: Axes) -> None:
        for arms in found.values():
            style = arm_style(comparison, next(arm for arm in arms if arm.reward_model == "adversarial"))
            draw_band(axes, range(len(kinds)), list(map(of_arm, arms)), style, scale)
        axes.set(xticks=range(len(kinds)), xticklabels=[f"{alpha:g}" for alpha in kinds.values()])
        axes.margins(x=0.08, y=0.15)

    told = "; ".join(f"{m.upper()}: {', '.join(decimal(scale * of_arm(arm).value, 2) for arm in arms)}" for m, arms in found.items())
    alphas = ", ".join(f"{alpha:g}" for alpha in kinds.values())
    description = f"{title} after {comparison.rounds[-1]} by alpha {alphas}. {told}."
    return Panel(f"dose-{name}", title, ("alpha", label), draw, description, SMALL_INCHES)


def _cost_chart(comparison: Comparison, score: Metric) -> Chart:
    """A score for the distance from SFT; gold also on either kind of prompt, if there are both."""
    text, panels = f"{score.title} for the distance from SFT.", [_moved_panel(comparison, score)]
    if comparison.has_gold:
        text = "Gold on either kind of prompt after the last round, with intervals, and gold for the distance from SFT."
    sides = list(filter(None, map(comparison.metric, GOLD_SIDES)))
    if len(sides) == len(GOLD_SIDES):
        panels.insert(0, _trade_panel(comparison, *sides))
    return chart(comparison, "what-it-costs", "What it costs", f"{text} In grey: {references_told(comparison)}.", panels)


def references_told(comparison: Comparison) -> str:
    """The markers of references, and what they stand for."""
    return ", ".join(f"{sign} {policy_title(policy)}" for _, sign, policy in marked_references(comparison))


def marked_references(comparison: Comparison) -> list[tuple[str, str, Policy]]:
    """Each reference with its marker, as matplotlib names it and as it looks in the text."""
    markers = chain(REFERENCE_MARKERS.items(), cycle(OWN_MARKERS.items()))
    return [(*marker, policy) for policy, marker in zip(comparison.references, markers)]  # noqa: B905  (markers have no end)


def arm_style(comparison: Comparison, arm: Policy) -> dict[str, Any]:
    """How matplotlib is to draw an arm's line."""
    kinds = list(dict.fromkeys(policy.reward_model for policy in comparison.arms))
    colour = COLOURS[method_names(comparison).index(str(arm.method)) % len(COLOURS)]
    return Key("", colour, *LINES[kinds.index(arm.reward_model) % len(LINES)]).style


def method_names(comparison: Comparison) -> list[str]:
    """In the order of params.run."""
    return list(dict.fromkeys(str(arm.method) for arm in comparison.arms))


def trajectory(arm: Policy, metric: Metric) -> list[Estimate]:
    """SFT's estimate, then the arm's of each round, on the prompts that all rounds answered."""
    return [values[metric.name] for values in arm.path.values()]


def axis_label(metric: Metric) -> str:
    """A metric's title and unit."""
    return f"{metric.title}, {AXES.get(metric.unit, UNITS[metric.unit].sign)}"


def shared_limits(estimates: Iterable[Estimate]) -> tuple[float, float]:
    """Limits of an axis that panels share."""
    ends = [end for estimate in estimates for end in (estimate.low, estimate.high)]
    margin = 0.06 * (max(ends) - min(ends) or 1)
    return min(ends) - margin, max(ends) + margin


def draw_band(
    axes: Axes, xs: Sequence[int], estimates: Sequence[Estimate], style: dict[str, Any], scale: float = 1, alpha: float = BAND_ALPHA
) -> None:
    """A line of estimates on a band of their intervals."""
    low, high = ([scale * end for end in ends] for ends in zip(*((e.low, e.high) for e in estimates), strict=True))
    axes.fill_between(xs, low, high, color=style["color"], alpha=alpha, linewidth=0)
    axes.plot(xs, [scale * estimate.value for estimate in estimates], **style)


def draw_cross(axes: Axes, x: Estimate, y: Estimate, colour: str) -> None:
    """The intervals of a point."""
    axes.plot([x.low, x.high], [y.value, y.value], color=colour, linewidth=0.7, alpha=0.7)
    axes.plot([x.value, x.value], [y.low, y.high], color=colour, linewidth=0.7, alpha=0.7)


def draw_start(axes: Axes, x: float, y: float) -> None:
    """The star of SFT."""
    axes.plot(x, y, next(iter(REFERENCE_MARKERS)), color=REFERENCE_COLOUR, markersize=10, zorder=5)


def draw_path(axes: Axes, xs: Sequence[float], ys: Sequence[float], style: dict[str, Any]) -> None:
    """A line through the rounds; the last is larger, as numbers beside all of them would pile up."""
    axes.plot(xs, ys, **style)
    axes.plot(xs[-1:], ys[-1:], **{**style, "linestyle": "none", "markersize": LAST_SIZE})


def _by_round(comparison: Comparison, metric: Metric) -> list[Panel]:
    limits = shared_limits(estimate for arm in comparison.arms for estimate in trajectory(arm, metric))
    start = comparison.policies[SFT].path[START_ROUND][metric.name]

    def draw(axes: Axes, arms: list[Policy]) -> None:
        axes.axhline(start.value, color=REFERENCE_COLOUR, linewidth=1)
        for arm in arms:
            points = trajectory(arm, metric)
            draw_band(axes, range(len(points)), points, arm_style(comparison, arm))
        axes.set(ylim=limits, xticks=range(len(comparison.rounds) + 1), xticklabels=["SFT", *comparison.rounds])

    def told(arms: list[Policy]) -> str:
        said = [f"{policy_title(arm)}: {', '.join(decimal(p.value, 2) for p in trajectory(arm, metric))}" for arm in arms]
        return f"{metric.title} by round from SFT on. {'; '.join(said)}."

    return by_method(comparison.arms, f"{metric.name}-by-round", ("round", axis_label(metric)), draw, told)


def _paths(comparison: Comparison, across: Metric, up: Metric) -> list[Panel]:
    xlim, ylim = (
        shared_limits(Estimate(p.value, p.value, p.value, 0) for arm in comparison.arms for p in trajectory(arm, metric))
        for metric in (across, up)
    )

    def draw(axes: Axes, arms: list[Policy]) -> None:
        for arm in arms:
            xs, ys = ([p.value for p in trajectory(arm, metric)] for metric in (across, up))
            draw_path(axes, xs, ys, arm_style(comparison, arm))
            draw_start(axes, xs[0], ys[0])
        axes.set(xlim=xlim, ylim=ylim)

    labels = axis_label(across), axis_label(up)
    return by_method(comparison.arms, "path", labels, draw, lambda arms: "Path of gold against RM_all from SFT on, one an arm.")


def _trade_panel(comparison: Comparison, across: Metric, up: Metric) -> Panel:
    def draw(axes: Axes) -> None:
        references = [(policy, marker) for marker, _, policy in marked_references(comparison)]
        for policy, marker in [*references, *((arm, None) for arm in comparison.arms)]:
            x, y = (policy.rounds[policy.last_round][metric.name] for metric in (across, up))
            grey: dict[str, Any] = {"color": REFERENCE_COLOUR, "marker": marker, "markersize": 8}
            style = {**(arm_style(comparison, policy) if policy.is_arm else grey), "linestyle": "none"}
            draw_cross(axes, x, y, style["color"])
            axes.plot(x.value, y.value, **style)

    kinds = [prompts_of(comparison, str(metric.subset)) for metric in (across, up)]
    description = f"Gold on {kinds[0]} against gold on {kinds[1]}, all policies after the last round."
    labels = axis_label(across), axis_label(up)
    name, title = f"{across.subset}-{up.subset}", f"{across.subset} against {up.subset}".capitalize()
    return Panel(name, title, labels, draw, description, WIDE_INCHES)


def _moved_panel(comparison: Comparison, score: Metric) -> Panel:
    kl = comparison.metric("kl_to_sft")
    assert kl  # over all prompts, so never left out

    def draw(axes: Axes) -> None:
        for arm in comparison.arms:
            xs, ys = (trajectory(arm, metric) for metric in (kl, score))
            axes.plot([p.value for p in xs], [p.value for p in ys], **arm_style(comparison, arm))
        for marker, _, policy in marked_references(comparison):
            found = policy.rounds[policy.last_round]
            if kl.name in found:  # not of a policy of one's own with other tokens
                axes.plot(found[kl.name].value, found[score.name].value, marker, color=REFERENCE_COLOUR, markersize=8, zorder=5)

    description = f"{score.title} against the divergence from SFT, a path an arm through the rounds."
    labels = axis_label(kl), axis_label(score)
    return Panel(f"{score.name}-kl", f"{score.title} for distance", labels, draw, description, WIDE_INCHES)
