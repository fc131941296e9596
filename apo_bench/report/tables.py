"""Numbers as text: the terminal's table, Markdown, and CSV for DVC's plots."""

from rich.table import Table

from apo_bench.comparison import FIXED, SFT, Comparison, Difference, Metric, Policy
from apo_bench.evaluation.statistics import Estimate
from apo_bench.report.glossary import GOLD_UNKNOWN

REFERENCES = {SFT: "SFT", "golden": "SFT on golden", "human": "DPO on human pairs"}
MINUS = "−"
CLAIM_METRICS = ("reward_all", "gold")
"""What the line of a method is about."""
UNITS = {"score": "", "share": "%", "nats": "nats", "tokens": "tokens"}


def policy_title(policy: Policy) -> str:
    """How a policy is called in tables."""
    return method_title(policy) if policy.is_arm else REFERENCES.get(policy.name, policy.name)


def method_title(arm: Policy | Difference) -> str:
    """How an arm is called: method, reward model and, unless it is the usual 0, seed."""
    seed = f", seed {arm.seed}" if arm.seed else ""
    return f"{str(arm.method).upper()} {arm.reward_model}{seed}"


def number(metric: Metric, value: float, signed: bool = False, more_places: int = 0) -> str:
    """A value in the metric's unit, shares in percent; with a true minus sign."""
    scaled = 100 * value if metric.unit == "share" else value
    places = (2 if metric.unit == "score" else 1) + more_places
    text = f"{scaled:+.{places}f}" if signed else f"{scaled:.{places}f}"
    if float(text) == 0:
        text = f"{0:.{places}f}"
    return text.replace("-", MINUS)


def interval(metric: Metric, estimate: Estimate, signed: bool = False) -> str:
    """`[low, high]` in the metric's unit; with more places where it takes them to see that it lies on one side of zero."""
    for more_places in range(4):
        bounds = [number(metric, bound, signed, more_places) for bound in (estimate.low, estimate.high)]
        if not signed or estimate.low <= 0 <= estimate.high or not any(float(bound.replace(MINUS, "-")) == 0 for bound in bounds):
            break
    return f"[{', '.join(bounds)}]"


def table_policies(comparison: Comparison) -> list[Policy]:
    """The rows of the table: references, then arms after their last round."""
    return [*comparison.references, *comparison.arms]


def claims(comparison: Comparison) -> dict[str, str]:
    """A line an arm with a retrained reward model: where it beats, loses to or cannot be told from the fixed one after the last round."""
    lines = {}
    for difference in comparison.differences.values():
        round_id = comparison.rounds[-1]
        parts = []
        for metric in filter(None, map(comparison.metric, CLAIM_METRICS)):
            estimate = difference.rounds[round_id][metric.name]
            shown = f"{number(metric, estimate.value, signed=True)} {interval(metric, estimate, signed=True)}"
            parts.append(f"{metric.title}: {difference.verdict(metric, round_id)}, {shown}")
        lines[f"{method_title(difference)} {MINUS} {FIXED}"] = "; ".join(parts)
    return lines


def terminal_table(comparison: Comparison) -> Table:
    """References and arms after the last round, each value with half its interval."""
    table = Table(
        title=f"After {comparison.rounds[-1]}, {comparison.num_test_prompts} test prompts, ± half the {comparison.confidence:.0%} interval",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True)
    for metric in comparison.metrics:
        unit = UNITS[metric.unit]
        table.add_column(f"{metric.title} {unit}".strip(), justify="right", vertical="bottom")
    for policy in table_policies(comparison):
        estimates = policy.rounds[policy.last_round]
        cells = []
        for metric in comparison.metrics:
            estimate = estimates[metric.name]
            cells.append(f"{number(metric, estimate.value)} ±{number(metric, (estimate.high - estimate.low) / 2)}")
        table.add_row(policy_title(policy), *cells, end_section=policy.name == comparison.references[-1].name)
    return table


def markdown(comparison: Comparison) -> str:
    """The same table with whole intervals, and the claims, for a README or an issue."""
    heads = [f"{metric.title}, {UNITS[metric.unit]}".rstrip(", ") for metric in comparison.metrics]
    lines = [
        *([] if comparison.has_gold else [GOLD_UNKNOWN, ""]),
        f"After {comparison.rounds[-1]}, {comparison.num_test_prompts} test prompts; in brackets {comparison.confidence:.0%} intervals.",
        "",
        f"| policy | {' | '.join(heads)} |",
        f"|---|{'---:|' * len(heads)}",
    ]
    for policy in table_policies(comparison):
        estimates = policy.rounds[policy.last_round]
        cells = [
            f"{number(metric, estimates[metric.name].value)} {interval(metric, estimates[metric.name])}" for metric in comparison.metrics
        ]
        lines.append(f"| {policy_title(policy)} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"- {name}: {text}" for name, text in claims(comparison).items())]).rstrip() + "\n"
