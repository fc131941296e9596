"""k* in words, as a chart and as a table."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from apo_bench.comparison.label_equivalent import BOUNDED, FRESH, MORE_THAN_ALL, NONE_AT_ALL, NOT_TOLD, STALE, UNDECIDED, LabelEquivalent
from apo_bench.comparison.predictors import Predictor
from apo_bench.evaluation.metrics import METRICS
from apo_bench.evaluation.statistics import Estimate
from apo_bench.report.labels import labels_section, predictors_section, sentence
from apo_bench.report.section import as_markdown, figures, tables
from apo_bench.report.table import as_csv

GOLD = next(metric for metric in METRICS if metric.name == "gold")


def estimate(value):
    return Estimate(value, value - 0.5, value + 0.5, 0.25)


FOUND = LabelEquivalent(
    num_rounds=3,
    divergence=1.5,
    curves={FRESH: {0: estimate(1.0), 25: estimate(2.0), 400: estimate(3.0)}, STALE: {400: estimate(2.5)}},
    levels={"no_adversarial": estimate(1.1), "adversarial": estimate(2.2), "oracle": estimate(4.0)},
    freshness={400: estimate(0.7)},
    gain=estimate(2.0),
    k_star=33.4,
    low=3.2,
    high=120.0,
    verdict=BOUNDED,
)


def section(found):
    comparison = SimpleNamespace(label_equivalents=found, sizes={"golden_rm": 160}, confidence=0.95, metric={"gold": GOLD}.get)
    return labels_section(comparison)


NOT_APART = "labels a round are not told from APO."


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, f"by the means APO is worth 33 fresh labels a round; from 3 to 120 {NOT_APART}"),
        (
            {"verdict": MORE_THAN_ALL, "k_star": None, "low": None, "high": None},
            "APO does more than 400 fresh labels a round, the most that were tried, 1200 in all.",
        ),
        (
            {"verdict": UNDECIDED, "k_star": None, "low": None, "high": None},
            "undecided; in these replicates APO does more than 400 fresh labels a round, the most that were tried.",
        ),
        ({"verdict": NONE_AT_ALL}, "APO is worth no label: as much training without it, on the human pairs alone, does more."),
        (
            {"verdict": NOT_TOLD, "low": 0.0, "high": None},
            f"undecided, as labels are not known to help here, so nothing can be weighed in them; from 0 to 400 and more {NOT_APART}",
        ),
        (
            {"verdict": UNDECIDED, "k_star": None, "high": None},
            f"undecided; by the means APO is worth more than 400 fresh labels a round; from 3 to 400 and more {NOT_APART}",
        ),
    ],
)
def test_a_sentence_says_the_number_its_interval_and_what_is_not_known(changes, words):
    assert sentence(replace(FOUND, **changes)) == words


def test_the_section_has_sentence_chart_and_numbers():
    found = section({"dpo": FOUND})

    text = as_markdown([found])
    assert "DPO: by the means APO is worth 33 fresh labels a round" in text
    assert "160 golden responses" in text
    [chart] = figures([found])
    assert [key.label for key in chart.keys] == ["fresh labels", "as many stale labels", "APO", "AB", "gold itself"]
    svg = chart.picture("svg").decode()
    assert all(f">{total}<" in svg for total in ("0", "75", "1200"))  # three rounds' labels
    [table] = tables([found])
    rows = as_csv(table).splitlines()
    assert sum(row.startswith("DPO") for row in rows) == 3 + 3
    assert any(row.startswith("DPO,400") and "0.70" in row and "2.50" in row for row in rows)


def test_nothing_is_shown_of_a_run_without_labels():
    assert section({}) is None
    assert predictors_section(SimpleNamespace(predictors=[])) is None


def test_correlations_are_shown_with_their_sign_and_a_dash_for_what_cannot_be_had():
    comparison = SimpleNamespace(predictors=[Predictor("ece", None, Estimate(0.25, -0.1, 0.6, 0.1))])

    [row] = [line for line in as_markdown([predictors_section(comparison)]).splitlines() if line.startswith("| ECE")]

    assert row == "| ECE | – | +0.25 [−0.10, +0.60] |"
