"""What policies cost: counts that the stages kept. Seconds are on a page of their own (`times`)."""

from apo_bench.comparison.numbers import NONE, count, decimal, significant
from apo_bench.comparison.results import Comparison, Policy
from apo_bench.core.layout import BEST_OF_N
from apo_bench.provenance.budgets import Budgets, Numbers
from apo_bench.report.glossary import policy_title, table_policies
from apo_bench.report.section import Part, Section
from apo_bench.report.table import Cell, Column, Row, Table, names

COLUMNS = {
    "num_samples": Column("Samples", "Responses drawn to train on."),
    "num_reward_calls": Column("RM calls", "Samples that a reward model scored for a policy to learn from."),
    "num_tokens_generated": Column("Generated", "Tokens of the samples as drawn, end tokens included."),
    "num_tokens_read": Column(
        "Read", "Tokens that went through a model forward only: prompts when sampling, samples when scored or under a reference."
    ),
    "num_tokens_trained": Column(
        "Trained", "Tokens of prompts and responses trained on, in each epoch, of policies and of reward models alike."
    ),
}
"""A column of each count; the last three are tokens. A prompt counts with each response scored or trained on; padding never."""
COMPUTE = (
    "Floating-point operations: parameters times 2 for each token generated or read and 6 for each trained on (Kaplan et al. 2020), "
    "attention left out."
)
SHARED = Column(
    "Shared",
    "Share of the compute that stages took which other policies come from as well; it counts whole for each of them.",
    unit="share",
)
PREFIXES = ((1e24, "Y"), (1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"))


def flop_unit(largest: float) -> tuple[float, str]:
    """The unit in which these many operations, and fewer, are told: how many it is, and its name."""
    return next(((size, f"{prefix}FLOP") for size, prefix in PREFIXES if largest >= size), (1e6, "MFLOP"))


def compute_column(unit: str) -> Column:
    """The column of compute in a unit of `flop_unit`."""
    return Column(f"Compute, {unit}", COMPUTE)


def budget_section(comparison: Comparison) -> Section | None:
    """The section on the budget; None where it is not known."""
    budgets = comparison.budgets
    if budgets is None:
        return None
    size, unit = flop_unit(_largest(comparison, budgets))
    columns = [*COLUMNS.values(), compute_column(unit)]
    rows = []
    for policy in made_policies(comparison):
        whole = budgets.mean(policy.members, policy.last_round)
        flop, shared = budgets.flop(whole), budgets.flop(budgets.mean(policy.members, policy.last_round, budgets.shared))
        share = Cell(decimal(100 * shared / flop, 0) if flop else NONE)
        rows.append(Row([Cell(policy_title(policy)), *count_cells(budgets, whole, size), share], "arms" if policy.is_arm else ""))
    stages = [
        Row([*names(name, count(len(budgets.users[name]))), *count_cells(budgets, budgets.stages[name], size)]) for name in budgets.shared
    ]
    replicates = ", means over replicates" if len(comparison.seeds) > 1 else ""
    note = (
        f"Counts that the stages kept, from the base model on, arms after {comparison.rounds[-1]}{replicates}. What several policies come "
        "from (the base model, SFT, the samples of the first round, a fixed reward model) counts whole for each of them; how much of a row "
        "that is stands in its last column. Preparing the records and evaluating the policies is left out, being the same for all. All "
        f"models have {count(budgets.num_parameters)} parameters. Seconds differ from run to run, so that they stand on a page of their "
        "own, times.html beside this one."
    )
    caption = "Samples and calls of reward models are counts of responses; generated, read and trained are tokens."
    of_stages = "The same counts by stage of dvc.yaml, and how many policies come from it, those of each replicate counted apart."
    return Section(
        "budget",
        "What each policy took",
        [
            note,
            Table("budget", caption, [Column("Policy", kind="name"), *columns, SHARED], rows),
            Part(
                f"{len(stages)} stages that several policies come from",
                [Table("shared-stages", of_stages, [Column("Stage", kind="name"), Column("Policies"), *columns], stages)],
                is_folded=True,
            ),
        ],
        of="Budget",
    )


def _largest(comparison: Comparison, budgets: Budgets) -> float:
    return max(budgets.flop(budgets.mean(policy.members, policy.last_round)) for policy in made_policies(comparison))


def made_policies(comparison: Comparison) -> list[Policy]:
    """The rows of the table that the run trained: all but the best of n and policies of one's own."""
    return [policy for policy in table_policies(comparison) if policy.name != BEST_OF_N and not policy.is_own]


def count_cells(budgets: Budgets, counted: Numbers, size: float) -> list[Cell]:
    """The counts of `COLUMNS`, and the compute in units of `size` operations."""
    return names(*(count(counted[name]) for name in COLUMNS), significant(budgets.flop(counted) / size))
