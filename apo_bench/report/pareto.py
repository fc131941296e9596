"""The chart of what a policy reached for what it took, and the policies that no other is better than at no more cost."""

from typing import NamedTuple

from apo_bench.budget import Budgets
from apo_bench.comparison.results import Comparison, Metric, Policy
from apo_bench.report.budget import flop_unit, made_policies
from apo_bench.report.charts import REFERENCE_COLOUR, REFERENCE_MARKERS, Chart, arm_style, axis_label
from apo_bench.report.svg import INK, WIDE_INCHES, Panel
from apo_bench.report.tables import policy_title


class Point(NamedTuple):
    """A policy after a round."""

    cost: float
    score: float
    name: str


def pareto_chart(comparison: Comparison) -> Chart:
    """Gold or, where it is unknown, RM_all against compute: a path an arm through the rounds, and the front of all points."""
    budgets, score = comparison.budgets, comparison.metric("gold") or comparison.metric("reward_all")
    assert budgets and score  # the stage compare has read the budgets, and every run has RM_all
    points = {policy.name: _points(budgets, score, policy) for policy in made_policies(comparison)}
    everything = [point for path in points.values() for point in path]
    size, unit = flop_unit(max(point.cost for point in everything))
    panel = Panel(f"{score.title} for compute", f"compute up to the round, {unit}", axis_label(score), WIDE_INCHES)
    front = pareto_front(everything)
    for arm in comparison.arms:
        panel.axes.plot([p.cost / size for p in points[arm.name]], [p.score for p in points[arm.name]], **arm_style(comparison, arm))
    for policy, marker in zip(comparison.references, REFERENCE_MARKERS, strict=True):
        if policy.name not in points:
            continue
        panel.axes.plot(points[policy.name][0].cost / size, points[policy.name][0].score, marker, color=REFERENCE_COLOUR, markersize=8)
    panel.axes.plot(
        [p.cost / size for p in front], [p.score for p in front], color=INK, linewidth=0.8, linestyle=":", drawstyle="steps-post", zorder=1
    )
    names = ", ".join(point.name for point in front)
    text = (
        f"{score.title} against all the compute that went into a policy, a path an arm through the rounds; in grey the references. The "
        f"dotted line joins those that no other beats at no more cost, by the means alone, whatever their intervals: {names}."
    )
    return Chart(
        "What it takes in compute", text, [panel.svg(f"{score.name}-flop", f"{score.title} against compute. On the front: {names}.")]
    )


def pareto_front(points: list[Point]) -> list[Point]:
    """The points that no other has a higher score than at no more cost, nor the same score at less, cheapest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.score)):
        if not front or point.score > front[-1].score:
            front.append(point)
    return front


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
