"""The game between reward model and policy: tables and charts."""

from typing import Any

from apo_bench.comparison.numbers import NONE, count, decimal
from apo_bench.comparison.results import Comparison
from apo_bench.core.layout import START_ROUND
from apo_bench.evaluation.metrics import FAULT_RATES, FAULTS_NAME, FAULTS_TITLE
from apo_bench.game.players import FIXED, GOLDEN
from apo_bench.report.game_charts import frontier_chart, ledger_charts, over_optimisation_charts, shift_chart
from apo_bench.report.glossary import policy_title
from apo_bench.report.section import Part, Section
from apo_bench.report.table import Cell, Column, Row, Table, names

DYNAMICS = {
    "forgetting": Column(
        "Forgetting",
        "How much less accurate later reward models are against a policy than the one that was trained against it: the mean over all "
        "such pairs, in points of accuracy. Source: Lopez-Paz & Ranzato 2017, backward transfer.",
        "points",
    ),
    "giving_back": Column(
        "Giving back",
        "How much later policies have lost by the lights of the reward model that an earlier one was trained by, in points.",
        "points",
    ),
    "edge_change": Column(
        "Edge",
        "How much further from 50 %, which is golden against golden, the last reward model is against the policy that it was trained "
        "against than the first was. Source: Goodfellow et al. 2014, Section 4.1.",
        "points",
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
POLICY, ROUND = Column("Policy", kind="name"), Column("Round", kind="name")


def game_section(comparison: Comparison) -> Section | None:
    """The section on the game; None without a game ledger."""
    game = comparison.game
    if game is None:
        return None
    note = (
        "Every reward model of a game scores the test responses of every policy of it, and the golden responses to the same prompts, which "
        "no reward model or policy was trained on."
    )
    unknown = ["Not known on this data: nothing here says which of two responses is better."]
    ledger = _ledger_table(comparison)
    return Section(
        "game",
        "The game between reward model and policy",
        [
            note,
            Part("Who beats whom", [_dynamics_table(comparison), *ledger_charts(comparison)]),
            Part("Over-optimisation", [_over_optimisation_table(comparison), *over_optimisation_charts(comparison)]),
            Part("Distribution shift", [_shift_table(comparison), shift_chart(comparison)] if game.shift_against else [*unknown]),
            Part(FAULTS_TITLE, [_frontier_table(comparison), frontier_chart(comparison)] if game.frontier else [*unknown]),
            Part(f"The ledger in numbers, {len(ledger.rows)} rows", [ledger], is_folded=True),
        ],
        of="Game",
        words=_words(comparison),
    )


def _dynamics_table(comparison: Comparison) -> Table | str:
    assert comparison.game
    if len(comparison.rounds) < 2:
        return "One round: there is nothing that a game could be compared with, so what it does is undecided."
    rows = []
    for arm in comparison.game_arms:
        found = comparison.game.arms[arm.name]["dynamics"]
        if found:
            cells = [column.cell(found["measures"].get(name), signed=True) for name, column in DYNAMICS.items()]
            rows.append(Row([*names(policy_title(arm), found["verdict"]), *cells]))
    meanings = "; ".join(f"{name}: {text}" for name, text in GAMES.items())
    caption = (
        f"What the game of each retrained reward model does, in points of accuracy; the three intervals hold together at "
        f"{comparison.confidence:.0%}. The word is of all replicates with a ledger, and undecided with fewer than "
        f"{comparison.verdicts.settings.min_seeds}. {meanings}."
    )
    return Table("game-dynamics", caption, [POLICY, Column("Game", kind="name"), *DYNAMICS.values()], rows)


def _over_optimisation_table(comparison: Comparison) -> Table:
    assert comparison.game
    target = _target(comparison)
    last = comparison.rounds[-1]
    before = [START_ROUND, *comparison.rounds][-2]
    gain, change = Column("Gain by own reward model"), Column(f"Change of {target}")
    rows = []
    for arm in comparison.game_arms:
        found = comparison.game.arms[arm.name]["over_optimisation"]
        stops, peak = found["stops_after"], found["peak"]
        cells = [
            Cell(_round(stops) if stops else NONE),
            Cell(_round(peak["round"]), (_round(peak["low"]), _round(peak["high"]))),
            gain.cell(found["proxy_gain"][last], signed=True),
            change.cell(found["to_last"][stops or before]["target"], signed=True),
        ]
        rows.append(Row([*names(policy_title(arm), found["verdict"]), *cells]))
    caption = (
        f"Over-optimised: from some round to the last {target} falls and the arm’s own reward model is pleased more; falls: {target} alone "
        f"is known to; still rises: it does in the last round. Changes are to {last}, from the round after which {target} stops rising, or "
        f"else from the round before; all rounds’ intervals hold together at {comparison.confidence:.0%}. The verdict is of all replicates "
        f"with a ledger, and undecided with fewer than {comparison.verdicts.settings.min_seeds}."
    )
    columns = [POLICY, Column("Verdict", kind="name"), Column("Stops rising after"), Column(f"Highest {target}"), gain, change]
    return Table("over-optimisation", caption, columns, rows)


def _shift_table(comparison: Comparison) -> Table:
    assert comparison.game
    columns = {"base": Column("RM_base", unit="share"), "own": Column("Own reward model", unit="share")}
    gain = Column("Own minus RM_base", unit="points")
    rows = []
    for arm in comparison.game_arms:
        found, title = comparison.game.arms[arm.name]["shift"], policy_title(arm)
        is_retrained = arm.reward_model != FIXED

        def cells(numbers: dict[str, Any], signed: bool, is_retrained: bool = is_retrained) -> list[Cell]:
            return [c.cell(numbers.get(name) if is_retrained or name == "base" else None, signed) for name, c in columns.items()]

        for round_id in (name for name in comparison.rounds if name in found["rounds"]):
            numbers = found["rounds"][round_id]
            gained = gain.cell(numbers.get("gain") if is_retrained else None, signed=True)
            rows.append(Row([*names(title, round_id), *cells(numbers, False), gained, Cell(count(numbers["num_pairs"]))], title))
        if found["change"]:
            rows.append(Row([*names(title, "change"), *cells(found["change"], True), *names(NONE, "")], title))
    pairs = (
        "pairs of the samples that the round’s policy learns from, ordered by gold, whose ties are left out"
        if comparison.game.shift_against == "gold"
        else "pairs of the policy’s test response and SFT’s, by the judge’s verdict, whose ties are left out"
    )
    caption = f"Accuracy in % on {pairs}; change: the last round minus the first. Intervals are over prompts."
    return Table("accuracy-under-shift", caption, [POLICY, ROUND, *columns.values(), gain, Column("Pairs")], rows)


def _frontier_table(comparison: Comparison) -> Table:
    assert comparison.game
    rates = [Column.of(metric) for metric in filter(None, map(comparison.metric, FAULT_RATES))]
    rows = []
    for name, rounds in comparison.game.frontier.items():
        policy = comparison.replicates[name]
        for round_id, found in rounds.items():
            cells = [column.cell(policy.path[round_id][key]) for key, column in zip(FAULT_RATES, rates, strict=True)]
            standing = f"{'◆ ' if found['is_pareto'] else ''}{STANDINGS[found['standing']]}"
            title, at = policy_title(policy), round_id if policy.is_arm else NONE
            more = names(standing, decimal(100 * found["share"], 0))
            rows.append(Row([*names(title, at), *cells, *more], title if policy.is_arm else ""))
    caption = (
        "◆: no other policy or round has lower rates of both, as they are. On the frontier if that holds in at least "
        f"{comparison.confidence:.0%} of the bootstrap’s draws in each replicate, off it in at most {1 - comparison.confidence:.0%}, else "
        f"undecided, as with fewer than {comparison.verdicts.settings.min_seeds} replicates."
    )
    columns = [POLICY, ROUND, *rates, Column("Standing", kind="name"), Column("Draws", unit="share")]
    return Table(f"{FAULTS_NAME}-frontier", caption, columns, rows)


def _ledger_table(comparison: Comparison) -> Table:
    """Every cell of every arm's ledger with its whole interval."""
    assert comparison.game
    policies = [START_ROUND, *comparison.rounds]
    accuracies = {name: Column(_round(name), unit="share") for name in policies}
    scores = {name: Column(f"{_round(name)} score") for name in policies} | {GOLDEN: Column("Golden score")}
    rows = []
    for arm in comparison.game_arms:
        matrix, title = comparison.game.arms[arm.name]["matrix"], policy_title(arm)
        for model in (name for name in (FIXED, *comparison.rounds) if name in matrix):
            cells = [column.cell(matrix[model][name]["accuracy"]) for name, column in accuracies.items()]
            cells += [column.cell(matrix[model][name]["score"]) for name, column in scores.items()]
            rows.append(Row([*names(title, f"RM_{model}"), *cells], title))
    caption = f"The ledger: golden above policy in %, then mean scores, with {comparison.confidence:.0%} intervals."
    columns = [POLICY, Column("Reward model", kind="name"), *accuracies.values(), *scores.values()]
    return Table("game-ledger", caption, columns, rows)


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
