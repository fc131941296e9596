"""The chart of what a policy reached for what it took, and the policies that no other is better than at no more cost."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from apo_bench.comparison.results import Comparison, Policy
from apo_bench.evaluation.metrics import Metric
from apo_bench.game.frontier import pareto
from apo_bench.provenance.budgets import Budgets
from apo_bench.report.budget import flop_unit, made_policies
from apo_bench.report.charts import REFERENCE_COLOUR, arm_style, axis_label, chart, marked_references
from apo_bench.report.glossary import policy_title
from apo_bench.report.pictures import INK, WIDE_INCHES, Chart, Panel


class Point(NamedTuple):
    """A policy after a round."""

    cost: float
    score: float
    name: str


def pareto_chart(comparison: Comparison) -> Chart:
    """Gold or, where it is unknown, RM_all against compute: a path an arm through the rounds, and the front of all points."""
    budgets, score = comparison.budgets, comparison.metric("gold") or comparison.metric("reward_all")
    assert budgets and score  # a chart of what is known; every run has RM_all
    points = {policy.name: _points(budgets, score, policy) for policy in made_policies(comparison)}
    everything = [point for path in points.values() for point in path]
    size, unit = flop_unit(max(point.cost for point in everything))
    front = pareto_front(everything)

    def draw(axes: Axes) -> None:
        for arm in comparison.arms:
            axes.plot([p.cost / size for p in points[arm.name]], [p.score for p in points[arm.name]], **arm_style(comparison, arm))
        for marker, _, policy in marked_references(comparison):
            for point in points.get(policy.name, []):
                axes.plot(point.cost / size, point.score, marker, color=REFERENCE_COLOUR, markersize=8)
        style: dict[str, Any] = {"color": INK, "linewidth": 0.8, "linestyle": ":", "drawstyle": "steps-post", "zorder": 1}
        axes.plot([p.cost / size for p in front], [p.score for p in front], **style)

    names = ", ".join(point.name for point in front)
    text = (
        f"{score.title} against all the compute that went into a policy, a path an arm through the rounds; in grey the references. The "
        f"dotted line joins those that no other beats at no more cost, by the means alone, whatever their intervals: {names}."
    )
    labels = f"compute up to the round, {unit}", axis_label(score)
    description = f"{score.title} against compute. On the front: {names}."
    panel = Panel(f"{score.name}-flop", f"{score.title} for compute", labels, draw, description, WIDE_INCHES)
    return chart(comparison, "score-for-compute", "What it takes in compute", text, [panel])


def pareto_front(points: list[Point]) -> list[Point]:
    """The points that no other has a higher score than at no more cost, nor the same score at less, cheapest first."""
    costs_M, scores_M = (np.array(values) for values in zip(*((point.cost, point.score) for point in points), strict=True))
    [is_front_M] = pareto(costs_M[None], -scores_M[None])
    return sorted(point for point, is_front in zip(points, is_front_M, strict=True) if is_front)


def _points(budgets: Budgets, score: Metric, policy: Policy) -> list[Point]:
    title = policy_title(policy)
    return [
        Point(
            budgets.flop(budgets.mean(policy.members, round_id)),
            policy.path[round_id][score.name].value,
            f"{title} {round_id}" if policy.is_arm else title,
        )
        for round_id in policy.rounds
    ]
