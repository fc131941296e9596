"""The tables of policies and of reward models: all of them, differences from the fixed reward model, and which of these matter most."""

from apo_bench.claims.inference import EQUIVALENT, UNDECIDED
from apo_bench.comparison.numbers import number
from apo_bench.comparison.results import FIXED, Compared, Comparison, mechanism
from apo_bench.evaluation.metrics import Metric
from apo_bench.evaluation.statistics import Estimate
from apo_bench.report.charts import measured
from apo_bench.report.glossary import GOLD_UNKNOWN, method_title, policy_title, reward_model_columns, table_policies
from apo_bench.report.section import Lines, Part, Section
from apo_bench.report.table import MARKS, Cell, Column, Row, Table, names

FINDING_METRICS = ("gold", "reward_all", "reward_all_equal_length")
"""What a finding is about, the primary one first."""
STANDINGS_TOLD = "{better} better than base, {worse} base better, {equal} no difference beyond d, {undecided} undecided.".format(**MARKS)


def averaged_over(comparison: Comparison) -> str:
    """What the numbers of the table are means over."""
    num_replicates = len(comparison.seeds)
    return f"{comparison.num_test_prompts} test prompts" + (f" and {num_replicates} replicates" if num_replicates > 1 else "")


def intervals_over(comparison: Comparison) -> str:
    """What their intervals, and those of differences, cover."""
    return f"{comparison.confidence:.0%} intervals over {'replicates' if len(comparison.seeds) > 1 else 'prompts'}"


def policies_section(comparison: Comparison) -> Section:
    """All policies after their last round."""
    caption = (
        f"References, then arms after {comparison.rounds[-1]}. Means over {averaged_over(comparison)} with {intervals_over(comparison)}; "
        "↑ higher is better, ↓ lower."
    )
    unknown = [] if comparison.has_gold else [GOLD_UNKNOWN]
    return Section("policies", "All policies", [*unknown, _policies(comparison, caption)])


def short_table(comparison: Comparison) -> Table:
    """The same for a terminal: each value with half its interval."""
    caption = f"After {comparison.rounds[-1]}, {averaged_over(comparison)}, ± half the {intervals_over(comparison)}"
    return _policies(comparison, caption, is_short=True)


def _policies(comparison: Comparison, caption: str, is_short: bool = False) -> Table:
    def cell(metric: Metric, found: Estimate | None) -> Cell:
        whole = Column.of(metric).cell(found)
        if found is None:  # the divergence of a policy of one's own with other tokens
            return whole
        return Cell(f"{whole.text}\N{NO-BREAK SPACE}±{number((found.high - found.low) / 2, metric.unit)}") if is_short else whole

    rows = []
    for policy in table_policies(comparison):
        found = policy.rounds[policy.last_round]
        cells = [cell(metric, found.get(metric.name)) for metric in comparison.metrics]
        rows.append(Row([Cell(policy_title(policy)), *cells], "arms" if policy.is_arm else ""))
    return Table("policies", caption, [Column("Policy", kind="name"), *map(Column.of, comparison.metrics)], rows)


def findings_table(comparison: Comparison) -> Table:
    """The differences that matter most, after the last round."""
    metrics = list(filter(None, map(comparison.metric, FINDING_METRICS)))
    last = comparison.rounds[-1]
    over = "the mean over replicates" if len(comparison.seeds) > 1 else "of one replicate"
    caption = (
        f"Difference from {FIXED} after {last}, same method and test prompts, {over}, with {intervals_over(comparison)}. "
        f"{verdicts_explained(comparison)}"
    )
    rows = [
        Row([Cell(f"{method_title(found)} − {FIXED}"), *_difference_cells(found.reward_model, metrics, found.rounds[last])])
        for found in comparison.differences.values()
    ]
    return Table("findings", caption, [Column("Arm", kind="name"), *map(Column.of, metrics)], rows, are_cards=True)


def differences_sections(comparison: Comparison) -> list[Section]:
    """What the numbers say, and all differences by round; nothing without differences."""
    if not comparison.differences:
        return []
    caption = (
        f"Differences from {FIXED} by round, same method, replicates and prompts, with {intervals_over(comparison)}. {STANDINGS_TOLD} "
        f"{verdicts_explained(comparison)} KL and length have no better side; only the last round is judged."
    )
    rows = [
        Row([*names(title, round_id), *_difference_cells(found.reward_model, comparison.metrics, found.rounds[round_id])], title)
        for found in comparison.differences.values()
        for title, round_id in ((method_title(found), round_id) for round_id in comparison.rounds)
    ]
    columns = [Column("Arm", kind="name"), Column("Round", kind="name"), *map(Column.of, comparison.metrics)]
    return [
        Section("findings", "What the numbers say", [findings_table(comparison)]),
        Section("differences", "Each reward model minus the fixed one", [Table("differences", caption, columns, rows)]),
    ]


def _difference_cells(reward_model: str, metrics: list[Metric], found: dict[str, Compared]) -> list[Cell]:
    cells = []
    for metric in metrics:
        verdict = found[metric.name].verdict or ""
        standings = {"": "", UNDECIDED: "undecided", EQUIVALENT: "equal", f"{reward_model} better": "better"}
        cells.append(Column.of(metric).cell(found[metric.name], True, standings.get(verdict, "worse"), verdict))
    return cells


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


def unlike_sections(comparison: Comparison) -> list[Section]:
    """Arms that differ in more than they should and are ranked all the same; nothing without any."""
    if not comparison.unlike:
        return []
    note = (
        "These arms differ in more than method and reward model, and are ranked all the same, as params.yaml says they may "
        "(compare.may_differ). What sets them apart may be that."
    )
    lines = Lines([f"{' and '.join(pair)}: {'; '.join(faults)}" for pair, faults in comparison.unlike.items()])
    return [Section("unlike", "Not like for like", [note, Part(f"{len(lines.lines)} pairs of arms", [lines], is_folded=True)])]


def mechanism_sections(comparison: Comparison) -> list[Section]:
    """Whether the question of the run has a subject; nothing where that cannot be known."""
    if not comparison.has_gold:
        return []
    caption = (
        "APO is a cure for a reward model that is worth something at first and loses it as the policy moves away. Whether that was so in "
        "this run, of RM_base and the arms with it alone, as means over replicates."
    )
    rows = [Row(names(one.words, one.wanted, one.found, "yes" if one.holds else "no")) for one in mechanism(comparison)]
    columns = [Column(title, kind="words") for title in ("What has to be so", "Wanted", "Found", "Holds")]
    return [Section("mechanism", "Is there a question to ask", [Table("mechanism", caption, columns, rows)])]


def reward_models_section(comparison: Comparison) -> Section:
    """What reward models were measured by, those of arms round by round."""
    rows: list[tuple[str, str, dict[str, Estimate]]] = [
        (f"RM_{name}", "", {metric: Estimate(value, *[float("nan")] * 3) for metric, value in found.items()})
        for name, found in comparison.fixed_reward_models.items()
    ]
    known = reward_model_columns(comparison)
    for arm in comparison.arms:
        found = {metric: measured(comparison, arm, metric) for metric in known}
        for round_id in comparison.reward_models[arm.name]:
            rows.append((policy_title(arm), round_id, {metric: rounds[round_id] for metric, rounds in found.items() if round_id in rounds}))
    columns = {name: column for name, column in known.items() if any(name in values for _, _, values in rows)}
    cells = [[column.cell(values[name]) if name in values else Cell() for name, column in columns.items()] for _, _, values in rows]
    with_intervals = f", with {intervals_over(comparison)}" if len(comparison.seeds) > 1 else ""
    table = Table(
        "reward-models",
        f"Each arm’s rows are about the reward model that trained its policy in that round{with_intervals}.",
        [Column("Reward model of", kind="name"), Column("Round", kind="name"), *columns.values()],
        [Row([*names(title, round_id), *more], title) for (title, round_id, _), more in zip(rows, cells, strict=True)],
    )
    title = f"{len(rows)} rows: accuracy, calibration, and how each judged the samples its policy learned from"
    return Section("reward-models", "Reward models in numbers", [Part(title, [table], is_folded=True)])
