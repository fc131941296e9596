"""Numbers as text: the terminal's table, Markdown, and CSV for DVC's plots."""

from rich.table import Table

from apo_bench.comparison.results import FIXED, SFT, Compared, Comparison, Difference, Metric, Policy
from apo_bench.core.layout import BEST_OF_N
from apo_bench.evaluation.statistics import Estimate
from apo_bench.report.glossary import GOLD_UNKNOWN

REFERENCES = {SFT: "SFT", "golden": "SFT on golden", "human": "DPO on human pairs", BEST_OF_N: "SFT, best of n by RM_base"}
MINUS = "−"
CLAIM_METRICS = ("gold", "reward_all", "reward_all_equal_length")
"""What the line of a method is about, the primary one first."""
UNITS = {"score": "", "share": "%", "nats": "nats", "tokens": "tokens"}


def policy_title(policy: Policy) -> str:
    """How a policy is called in tables."""
    seed = "" if policy.seed is None else f", seed {policy.seed}"
    group = policy.name.removesuffix(f"-s{policy.seed}")
    return (method_title(policy) if policy.is_arm else REFERENCES.get(group, group)) + seed


def method_title(arm: Policy | Difference) -> str:
    """How an arm is called: method and reward model."""
    return f"{str(arm.method).upper()} {arm.reward_model}"


def decimal(value: float, places: int, signed: bool = False) -> str:
    """A number with a true minus sign and, if signed, a plus sign; what rounds to zero has no sign."""
    text = f"{value:+.{places}f}" if signed else f"{value:.{places}f}"
    return (f"{0:.{places}f}" if float(text) == 0 else text).replace("-", MINUS)


def number(metric: Metric, value: float, signed: bool = False, more_places: int = 0) -> str:
    """A value in the metric's unit, shares in percent."""
    scaled = 100 * value if metric.unit == "share" else value
    return decimal(scaled, (2 if metric.unit == "score" else 1) + more_places, signed)


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


def averaged_over(comparison: Comparison) -> str:
    """What the numbers of the table are means over."""
    num_replicates = len(comparison.seeds)
    return f"{comparison.num_test_prompts} test prompts" + (f" and {num_replicates} replicates" if num_replicates > 1 else "")


def intervals_over(comparison: Comparison) -> str:
    """What their intervals, and those of differences, cover."""
    return "replicates" if len(comparison.seeds) > 1 else "prompts"


def table_rows(comparison: Comparison) -> list[tuple[str, dict[str, Estimate]]]:
    """Title and estimates of the rows of the short tables."""
    return [(policy_title(policy), policy.rounds[policy.last_round]) for policy in table_policies(comparison)]


def last_differences(comparison: Comparison) -> list[tuple[str, str, dict[str, Compared]]]:
    """Title, reward model and differences from the fixed one after the last round, of each arm."""
    last = comparison.rounds[-1]
    return [(method_title(found), found.reward_model, found.rounds[last]) for found in comparison.differences.values()]


def claims(comparison: Comparison) -> dict[str, str]:
    """A line for each of `last_differences`: where it beats, loses to or cannot be told from the fixed reward model."""
    lines = {}
    for title, _, differences in last_differences(comparison):
        parts = []
        for metric in filter(None, map(comparison.metric, CLAIM_METRICS)):
            estimate = differences[metric.name]
            shown = f"{number(metric, estimate.value, signed=True)} {interval(metric, estimate, signed=True)}"
            parts.append(f"{metric.title}: {getattr(estimate, 'verdict', None)}, {shown}")
        lines[f"{title} {MINUS} {FIXED}"] = "; ".join(parts)
    return lines


def verdicts_explained(comparison: Comparison) -> str:
    """What words on differences mean, and when there are none."""
    settings, num_seeds = comparison.verdicts.settings, len(comparison.seeds)
    if num_seeds < settings.min_seeds:
        return f"All is undecided: {num_seeds} seed{'s decide' if num_seeds > 1 else ' decides'} nothing, it takes {settings.min_seeds}."
    return (
        f"Something is called better that is not, in any row of a metric, in at most {1 - comparison.confidence:.0%} of runs (Holm). d is "
        f"{settings.smallest_effect:g} standard deviations of SFT’s values, of shares {100 * settings.smallest_accuracy_effect:g} points; "
        "“undecided” says nothing."
    )


def terminal_table(comparison: Comparison) -> Table:
    """References and arms after the last round, each value with half its interval."""
    table = Table(
        title=f"After {comparison.rounds[-1]}, {averaged_over(comparison)}, ± half the {comparison.confidence:.0%} interval over "
        f"{intervals_over(comparison)}",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True)
    for metric in comparison.metrics:
        unit = UNITS[metric.unit]
        table.add_column(f"{metric.title} {unit}".strip(), justify="right", vertical="bottom")
    last_reference = policy_title(comparison.references[-1])
    for title, estimates in table_rows(comparison):
        cells = []
        for metric in comparison.metrics:
            estimate = estimates[metric.name]
            cells.append(f"{number(metric, estimate.value)} ±{number(metric, (estimate.high - estimate.low) / 2)}")
        table.add_row(title, *cells, end_section=title == last_reference)
    return table


def markdown(comparison: Comparison) -> str:
    """The same table with whole intervals, and the claims, for a README or an issue."""
    heads = [f"{metric.title}, {UNITS[metric.unit]}".rstrip(", ") for metric in comparison.metrics]
    lines = [
        *([] if comparison.has_gold else [GOLD_UNKNOWN, ""]),
        f"After {comparison.rounds[-1]}, means over {averaged_over(comparison)}; in brackets {comparison.confidence:.0%} intervals over "
        f"{intervals_over(comparison)}.",
        "",
        f"| policy | {' | '.join(heads)} |",
        f"|---|{'---:|' * len(heads)}",
    ]
    for title, estimates in table_rows(comparison):
        cells = [
            f"{number(metric, estimates[metric.name].value)} {interval(metric, estimates[metric.name])}" for metric in comparison.metrics
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    said = [f"- {name}: {text}" for name, text in claims(comparison).items()]
    return "\n".join([*lines, *(["", verdicts_explained(comparison), "", *said] if said else [])]).rstrip() + "\n"
