"""What APO is worth in fresh labels, and what of a reward model predicts the policy that it trains."""

from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from apo_bench.claims.paper import APO, KINDS
from apo_bench.comparison.label_equivalent import BOUNDED, FRESH, MORE_THAN_ALL, NONE_AT_ALL, NOT_TOLD, STALE, LabelEquivalent
from apo_bench.comparison.numbers import count
from apo_bench.comparison.predictors import AGREEMENT
from apo_bench.comparison.results import Comparison
from apo_bench.evaluation.statistics import Estimate
from apo_bench.report.charts import BAND_ALPHA, COLOURS, axis_label
from apo_bench.report.glossary import REWARD_MODEL_METRICS
from apo_bench.report.pictures import INK, Chart, Key, Panel
from apo_bench.report.section import Lines, Section
from apo_bench.report.table import Cell, Column, Row, Table, names

TITLES = {APO: "APO", **KINDS}
KEYS = {
    FRESH: Key("fresh labels", COLOURS[0]),
    STALE: Key("as many stale labels", COLOURS[4], "2 2", "s"),
    APO: Key("APO", COLOURS[1], has_line=False),
    "no_adversarial": Key("AB", COLOURS[2], has_line=False),
    "oracle": Key("gold itself", INK, has_line=False),
}
"""Of the chart: curves, then levels."""
LABELS = Column("Labels a round")
GOLD = {what: Column(f"Gold, {title}", unit="score") for what, title in ((FRESH, "fresh"), (STALE, "stale"))}
FRESHNESS = Column(
    "Fresh minus stale",
    "Gold with labels of the policy's own samples minus gold with as many of SFT's: what freshness is worth, at the same number.",
    "score",
)
AGREES = Column("Agreement with RM_all", "Share of test pairs that both order alike.", "share")
CORRELATION = {"within": "Within methods", "across": "Across methods"}


def labels_section(comparison: Comparison) -> Section | None:
    """k* of each method, the curves and their numbers; None where the run tries no numbers of labels."""
    found = comparison.label_equivalents
    if not found:
        return None
    one = next(iter(found.values()))
    note = (
        "How many fresh labels a round would do what APO does without any? Gold is that of each policy where it has moved as far from SFT "
        "as the least moved of those compared, in its replicate. k labels are drawn as those of the human pairs were, for pairs of the "
        f"policy's own samples, before each of {one.num_rounds} rounds; all reward models train on as many sequences in as many steps. "
        f"APO takes {count(comparison.sizes['golden_rm'])} golden responses, which are a cost as well. An interval is all numbers that the "
        "run does not tell from APO (Fieller 1954); its errors are kept over the methods."
    )
    sentences = Lines([f"{method.upper()}: {sentence(equivalent)}" for method, equivalent in found.items()])
    return Section("labels", "What APO is worth in labels", [note, sentences, _chart(comparison), _table(comparison)])


def sentence(found: LabelEquivalent) -> str:
    """k* and its interval in words."""
    most = max(found.curves[FRESH])
    if found.verdict == MORE_THAN_ALL:
        return f"APO does more than {most} fresh labels a round, the most that were tried, {most * found.num_rounds} in all."
    if found.verdict == NONE_AT_ALL:
        return "APO is worth no label: as much training without it, on the human pairs alone, does more."
    if found.low is None:
        return f"{found.verdict}; in these replicates APO does more than {most} fresh labels a round, the most that were tried."
    low, high = f"{found.low:.0f}", f"{most} and more" if found.high is None else f"{found.high:.0f}"
    interval = f"from {low} to {high} labels a round are not told from APO"
    if found.verdict == NOT_TOLD:
        return f"undecided, as {NOT_TOLD}; {interval}."
    at_best = f"more than {most}" if found.k_star is None else f"{found.k_star:.0f}"
    start = "" if found.verdict == BOUNDED else f"{found.verdict}; "
    return f"{start}by the means APO is worth {at_best} fresh labels a round; {interval}."


def predictors_section(comparison: Comparison) -> Section | None:
    """Rank correlations over all games; None where gold is unknown or there is one replicate."""
    if not comparison.predictors:
        return None
    known = {**REWARD_MODEL_METRICS, AGREEMENT: AGREES}
    rows = [
        Row([Cell(known[one.measure].title), *(_correlation(getattr(one, name)) for name in CORRELATION)]) for one in comparison.predictors
    ]
    caption = (
        "Spearman’s rank correlation between what a reward model is worth in a round and the gold of the policy that it trains, over the "
        "reward models of one method and over all arms; the mean over rounds, with intervals over replicates. Arms trained by gold itself "
        "are left out. Of ECE less is better."
    )
    columns = [Column("Of the reward model", kind="name"), *(Column(title, unit="score") for title in CORRELATION.values())]
    return Section("predictors", "What of a reward model predicts the policy", [Table("predictors", caption, columns, rows)])


def _correlation(found: Estimate | None) -> Cell:
    return Column("", unit="score").cell(found, signed=True)


def _table(comparison: Comparison) -> Table:
    rows = []
    for method, found in comparison.label_equivalents.items():
        for name, level in found.levels.items():
            rows.append(Row([*names(method.upper(), TITLES.get(name, name)), GOLD[FRESH].cell(level), Cell(), Cell()], method))
        for k in sorted({k for curve in found.curves.values() for k in curve}):
            golds = [column.cell(found.curves.get(what, {}).get(k)) for what, column in GOLD.items()]
            rows.append(Row([*names(method.upper(), str(k)), *golds, FRESHNESS.cell(found.freshness.get(k), signed=True)], method))
    caption = (
        "Gold at equal divergence from SFT by labels a round; of reward models without labels in the column of the fresh ones. "
        f"{comparison.confidence:.0%} intervals over replicates."
    )
    return Table("labels", caption, [Column("Method", kind="name"), LABELS, *GOLD.values(), FRESHNESS], rows)


def _chart(comparison: Comparison) -> Chart:
    gold = comparison.metric("gold")
    assert gold  # labels are weighed by nothing else
    labels = "fresh labels, all rounds together", axis_label(gold)
    panels = [
        Panel(f"labels-{method}", method.upper(), labels, partial(_draw, found=found), f"{method.upper()}: {sentence(found)}")
        for method, found in comparison.label_equivalents.items()
    ]
    some = next(iter(comparison.label_equivalents.values()))
    keys = [key for name, key in KEYS.items() if name in some.curves or name in some.levels]
    text = (
        "Gold at equal divergence from SFT for the labels bought: fresh, of the policy's own samples, and stale, of SFT's. Level: APO, "
        f"with as much training on human pairs alone (AB), and with gold itself. Bands are {comparison.confidence:.0%} intervals."
    )
    return Chart("labels", "What APO is worth in labels", text, panels, keys)


def _draw(axes: Axes, found: LabelEquivalent) -> None:
    total = found.num_rounds
    smallest = min(k for k in found.curves[FRESH] if k > 0)
    ends = np.array([0.0, total * max(found.curves[FRESH])])
    for name, level in found.levels.items():
        if key := KEYS.get(name):
            axes.plot(ends, [level.value, level.value], color=key.colour, linewidth=1.2)
            axes.fill_between(ends, level.low, level.high, color=key.colour, alpha=BAND_ALPHA, linewidth=0)
    for name, curve in found.curves.items():
        xs = [total * k for k in curve]
        style: dict[str, Any] = KEYS[name].style
        low, high = ([getattr(one, end) for one in curve.values()] for end in ("low", "high"))
        axes.fill_between(xs, low, high, color=style["color"], alpha=BAND_ALPHA, linewidth=0)
        axes.plot(xs, [one.value for one in curve.values()], **style)
    axes.set_xscale("function", functions=(lambda x: np.log1p(x / (total * smallest)), lambda y: np.expm1(y) * total * smallest))
    ticks = [total * k for k in found.curves[FRESH]]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
