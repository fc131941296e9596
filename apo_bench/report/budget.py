"""What policies cost, for the page and for Markdown: counts that the stages kept. Seconds are on a page of their own (`times`)."""

from typing import Any

from apo_bench.budget import Budgets, Numbers
from apo_bench.comparison.results import BEST_OF_N, Comparison, Policy
from apo_bench.report.tables import policy_title, table_policies

COLUMNS = {
    "num_samples": ("Samples", "Responses drawn to train on."),
    "num_reward_calls": ("RM calls", "Samples that a reward model scored for a policy to learn from."),
    "num_tokens_generated": ("Generated", "Tokens of the samples as drawn, end tokens included."),
    "num_tokens_read": (
        "Read",
        "Tokens that went through a model forward only: prompts when sampling, samples when scored or under a reference.",
    ),
    "num_tokens_trained": ("Trained", "Tokens of prompts and responses trained on, in each epoch, of policies and of reward models alike."),
}
"""Title and meaning of each count; the last three are tokens. A prompt counts with each response scored or trained on; padding never."""
FLOP = (
    "Compute",
    "Floating-point operations: parameters times 2 for each token generated or read and 6 for each trained on (Kaplan et al. 2020), "
    "attention left out.",
)
SHARED = ("Shared", "Share of the compute that stages took which other policies come from as well; it counts whole for each of them.")
PREFIXES = ((1e24, "Y"), (1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"))


def flop_unit(largest: float) -> tuple[float, str]:
    """The unit in which these many operations, and fewer, are told: how many it is, and its name."""
    return next(((size, f"{prefix}FLOP") for size, prefix in PREFIXES if largest >= size), (1e6, "MFLOP"))


def budget_view(comparison: Comparison) -> dict[str, Any] | None:
    """What the page's section on the budget needs; None where it is not known."""
    budgets = comparison.budgets
    if budgets is None:
        return None
    unit = flop_unit(_largest(comparison, budgets))
    rows = []
    for policy in made_policies(comparison):
        whole = budgets.mean(policy.members, policy.last_round)
        shared = budgets.mean(policy.members, policy.last_round, budgets.shared)
        rows.append((policy_title(policy), policy.is_arm, _cells(budgets, whole, shared, unit)))
    return {
        "heads": [*(title for title, _ in COLUMNS.values()), f"{FLOP[0]}, {unit[1]}", f"{SHARED[0]}, %"],
        "rows": rows,
        "shared": [(name, len(budgets.users[name]), _cells(budgets, budgets.stages[name], None, unit)) for name in budgets.shared],
        "words": dict([*COLUMNS.values(), FLOP, SHARED]),
        "num_parameters": f"{budgets.num_parameters:,}",
    }


def budget_markdown(comparison: Comparison) -> str:
    """The table of the page's section; empty where the budget is not known."""
    view = budget_view(comparison)
    if view is None:
        return ""
    lines = ["", "What each policy took, from the base model on; stages that several policies come from count for each of them.", ""]
    lines += [f"| policy | {' | '.join(view['heads'])} |", f"|---|{'---:|' * len(view['heads'])}"]
    lines += [f"| {title} | {' | '.join(cells)} |" for title, _, cells in view["rows"]]
    return "\n".join(lines) + "\n"


def _largest(comparison: Comparison, budgets: Budgets) -> float:
    return max(budgets.flop(budgets.mean(policy.members, policy.last_round)) for policy in made_policies(comparison))


def made_policies(comparison: Comparison) -> list[Policy]:
    """The rows of the table that are models: all but the best of n."""
    return [policy for policy in table_policies(comparison) if policy.name != BEST_OF_N]


def _cells(budgets: Budgets, whole: Numbers, shared: Numbers | None, unit: tuple[float, str]) -> list[str]:
    flop = budgets.flop(whole)
    share = [] if shared is None else [f"{100 * budgets.flop(shared) / flop:.0f}" if flop else "–"]
    return [*(f"{whole[name]:,.0f}" for name in COLUMNS), f"{flop / unit[0]:.3g}", *share]
