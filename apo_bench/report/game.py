"""The game between reward model and policy in tables, for the page and for Markdown."""

from dataclasses import dataclass
from typing import Any

from apo_bench.comparison.results import Comparison
from apo_bench.core.sections import START_ROUND
from apo_bench.game.players import FIXED, GOLDEN
from apo_bench.report.charts import Chart
from apo_bench.report.tables import decimal, policy_title

DYNAMICS = {
    "forgetting": (
        "Forgetting",
        "How much less accurate later reward models are against a policy than the one that was trained against it: the mean over all "
        "such pairs, in points of accuracy. Source: Lopez-Paz & Ranzato 2017, backward transfer.",
    ),
    "giving_back": (
        "Giving back",
        "How much later policies have lost by the lights of the reward model that an earlier one was trained by, in points.",
    ),
    "edge_change": (
        "Edge",
        "How much further from 50 %, which is golden against golden, the last reward model is against the policy that it was trained "
        "against than the first was. Source: Goodfellow et al. 2014, Section 4.1.",
    ),
}
GAMES = {
    "cycles": "reward models forget, and policies give back: old tricks work again",
    "forgets": "later reward models fail against policies that earlier ones knew",
    "converges": "reward models tell less and less of the policy of the moment",
    "diverges": "reward models tell more and more of the policy of the moment",
    "undecided": "the intervals do not decide",
}
"""What the name of a game means, for the reader; `apo_bench.game.dynamics` has the rules."""
STANDINGS = {"on": "on the frontier", "off": "off it", "undecided": "undecided"}


@dataclass(frozen=True)
class GameCell:
    """A number of a table with its interval."""

    value: str
    interval: str = ""


@dataclass(frozen=True)
class GameTable:
    """A table of the section; rows are headed by a policy and a round or verdict."""

    name: str
    """An id on the page."""
    caption: str
    heads: list[str]
    rows: list[tuple[str, str, list[GameCell]]]

    @property
    def is_grouped(self) -> bool:
        """Whether a policy has several rows, which a line sets apart."""
        return len({name for name, _, _ in self.rows}) < len(self.rows)


def game_view(comparison: Comparison, charts: dict[str, list[Chart]]) -> dict[str, Any] | None:
    """What the page's section needs; None without a game ledger."""
    game = comparison.game
    if game is None:
        return None
    return {
        "parts": [
            ("Who beats whom", _dynamics_table(comparison), charts["ledger"]),
            ("Over-optimisation", _over_optimisation_table(comparison), charts["over_optimisation"]),
            ("Distribution shift", _shift_table(comparison) if game.shift_against else None, charts.get("shift", [])),
            ("Helpful and harmless", _frontier_table(comparison) if game.frontier else None, charts.get("frontier", [])),
        ],
        "ledger": _ledger_table(comparison),
        "words": dict(DYNAMICS.values()) | _words(comparison),
    }


def game_markdown(comparison: Comparison) -> str:
    """The tables of the game and of over-optimisation; empty without a game ledger."""
    if comparison.game is None:
        return ""
    lines = []
    for table in (_dynamics_table(comparison), _over_optimisation_table(comparison)):
        lines += ["", table.caption, "", f"| arm | {' | '.join(table.heads)} |", "|---|---|" + "---:|" * (len(table.heads) - 1)]
        rows = [(title, verdict, *(f"{cell.value} {cell.interval}".strip() for cell in cells)) for title, verdict, cells in table.rows]
        lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _dynamics_table(comparison: Comparison) -> GameTable:
    assert comparison.game
    rows = []
    for arm in comparison.game_arms:
        found = comparison.game.arms[arm.name]["dynamics"]
        if found:
            rows.append((policy_title(arm), found["verdict"], [_cell(found["measures"].get(name), 100, 1, True) for name in DYNAMICS]))
    meanings = "; ".join(f"{name}: {text}" for name, text in GAMES.items())
    caption = (
        f"What the game of each retrained reward model does, in points of accuracy; the three intervals hold together at "
        f"{comparison.confidence:.0%}. The word is of all replicates with a ledger, and undecided with fewer than "
        f"{comparison.verdicts.settings.min_seeds}. {meanings}."
    )
    if len(comparison.rounds) < 2:
        caption = "One round: there is nothing that a game could be compared with, so what it does is undecided."
    return GameTable("game-dynamics", caption, ["Game", *(title for title, _ in DYNAMICS.values())], rows)


def _over_optimisation_table(comparison: Comparison) -> GameTable:
    assert comparison.game
    target = _target(comparison)
    last = comparison.rounds[-1]
    before = [*([START_ROUND]), *comparison.rounds][-2]
    rows = []
    for arm in comparison.game_arms:
        found = comparison.game.arms[arm.name]["over_optimisation"]
        stops, peak = found["stops_after"], found["peak"]
        cells = [
            GameCell(_round(stops) if stops else "–"),
            GameCell(_round(peak["round"]), f"[{_round(peak['low'])}, {_round(peak['high'])}]"),
            _cell(found["proxy_gain"][last], 1, 2, True),
            _cell(found["to_last"][stops or before]["target"], 1, 2, True),
        ]
        rows.append((policy_title(arm), found["verdict"], cells))
    caption = (
        f"Over-optimised: from some round to the last {target} falls and the arm’s own reward model is pleased more; falls: {target} alone "
        f"is known to; still rises: it does in the last round. Changes are to {last}, from the round after which {target} stops rising, or "
        f"else from the round before; all rounds’ intervals hold together at {comparison.confidence:.0%}. The verdict is of all replicates "
        f"with a ledger, and undecided with fewer than {comparison.verdicts.settings.min_seeds}."
    )
    heads = ["Verdict", "Stops rising after", f"Highest {target}", "Gain by own reward model", f"Change of {target}"]
    return GameTable("game-over-optimisation", caption, heads, rows)


def _shift_table(comparison: Comparison) -> GameTable:
    assert comparison.game
    rows = []
    for arm in comparison.game_arms:
        found = comparison.game.arms[arm.name]["shift"]
        columns = ("base", "own", "gain") if arm.reward_model != FIXED else ("base",)
        for round_id in (name for name in comparison.rounds if name in found["rounds"]):
            numbers = found["rounds"][round_id]
            cells = [_cell(numbers.get(name) if name in columns else None, 100, 1, name == "gain") for name in ("base", "own", "gain")]
            rows.append((policy_title(arm), round_id, [*cells, GameCell(str(numbers["num_pairs"]))]))
        if found["change"]:
            cells = [_cell(found["change"].get(name) if name in columns else None, 100, 1, True) for name in ("base", "own")]
            rows.append((policy_title(arm), "change", [*cells, GameCell("–"), GameCell("")]))
    pairs = (
        "pairs of the samples that the round’s policy learns from, ordered by gold, whose ties are left out"
        if comparison.game.shift_against == "gold"
        else "pairs of the policy’s test response and SFT’s, by the judge’s verdict, whose ties are left out"
    )
    caption = f"Accuracy in % on {pairs}; change: the last round minus the first. Intervals are over prompts."
    heads = ["Round", "RM_base", "Own reward model", "Own minus RM_base", "Pairs"]
    return GameTable("game-shift", caption, heads, rows)


def _frontier_table(comparison: Comparison) -> GameTable:
    assert comparison.game
    rows = []
    for name, rounds in comparison.game.frontier.items():
        policy = comparison.replicates[name]
        for round_id, found in rounds.items():
            cells = [_cell(policy.path[round_id][rate].as_dict(), 100, 1) for rate in ("refusal_rate", "compliance_rate")]
            standing = f"{'◆ ' if found['is_pareto'] else ''}{STANDINGS[found['standing']]}"
            at = round_id if policy.is_arm else "–"
            rows.append((policy_title(policy), at, [*cells, GameCell(standing), GameCell(f"{100 * found['share']:.0f}")]))
    caption = (
        "◆: no other policy or round has lower rates of both, as they are. On the frontier if that holds in at least "
        f"{comparison.confidence:.0%} of the bootstrap’s draws in each replicate, off it in at most {1 - comparison.confidence:.0%}, else "
        f"undecided, as with fewer than {comparison.verdicts.settings.min_seeds} replicates."
    )
    return GameTable("game-frontier", caption, ["Round", "Refuses harmless, %", "Complies with harmful, %", "Standing", "Draws, %"], rows)


def _ledger_table(comparison: Comparison) -> GameTable:
    """Every cell of every arm's ledger with its whole interval."""
    assert comparison.game
    columns = [START_ROUND, *comparison.rounds]
    rows = []
    for arm in comparison.game_arms:
        matrix = comparison.game.arms[arm.name]["matrix"]
        models = [name for name in (FIXED, *comparison.rounds) if name in matrix]
        rows += [(policy_title(arm), f"RM_{name}", _ledger_cells(matrix[name], columns)) for name in models]
    heads = [f"{_round(name)} %" for name in columns] + [f"{_round(name)} score" for name in columns] + ["Golden score"]
    caption = f"The ledger: golden above policy in %, then mean scores, with {comparison.confidence:.0%} intervals."
    return GameTable("game-ledger", caption, ["Reward model", *heads], rows)


def _ledger_cells(found: dict[str, Any], columns: list[str]) -> list[GameCell]:
    accuracies = [_cell(found[name]["accuracy"], 100, 1) for name in columns]
    return accuracies + [_cell(found[name]["score"], 1, 2) for name in (*columns, GOLDEN)]


def _words(comparison: Comparison) -> dict[str, str]:
    """Words of the section beside those of its tables' columns."""
    return {
        "Own reward model": "The one that trained the policy in that round: RM_base in the arms where it is fixed.",
        "Gain by own reward model": "What each round gained by the reward model that trained it, added up from SFT on. In log-odds of the "
        "Bradley–Terry model, so that models with another zero each round can be added.",
        f"Highest {_target(comparison)}": "The round of the highest mean; in brackets, between which rounds it lies in the draws.",
    }


def _target(comparison: Comparison) -> str:
    return "gold" if comparison.has_gold else "RM_all"


def _round(name: str) -> str:
    return "SFT" if name == START_ROUND else name


def _cell(estimate: dict[str, float] | None, scale: float, places: int, signed: bool = False) -> GameCell:
    """A dash for what cannot be estimated."""
    if estimate is None:
        return GameCell("–")
    value, low, high = (decimal(scale * estimate[key], places, signed) for key in ("value", "low", "high"))
    return GameCell(value, f"[{low}, {high}]")
