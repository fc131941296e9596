"""One more metric of policies is one more entry of METRICS, whose columns the evaluation writes."""

from apo_bench.data.corpus import load_corpus
from apo_bench.data.gold import gold_score
from apo_bench.data.records import format_dialogue
from apo_bench.evaluation import metrics
from apo_bench.evaluation.metrics import METRICS, Metric, measured

CORPUS = load_corpus()
PROMPT = format_dialogue(CORPUS.templates[0].format(ask=CORPUS.topics[0].ask, context=CORPUS.helpful_contexts[0].statement))
WORDS = Metric("num_words", "Words", "Mean number of words.", "num_words", "tokens", None, measure=lambda _, text: len(text.split()))


def test_a_new_metric_has_its_column(monkeypatch):
    monkeypatch.setattr(metrics, "METRICS", (*METRICS, WORDS))
    assert measured(PROMPT, "Boil the water.", has_gold=False) == {"num_words": 3}


def test_gold_is_measured_where_it_is_known():
    found = measured(PROMPT, "I do not know.", has_gold=True)
    verdict = gold_score(PROMPT, "I do not know.")
    assert found == {"gold": verdict.score, "refused": verdict.refused, "complied": verdict.complied}
    assert measured(PROMPT, "I do not know.", has_gold=False) == {}


def test_metrics_of_one_key_are_measured_once():
    """Else the later one would win, in silence."""
    keys = [metric.key for metric in METRICS if metric.measure]
    assert len(keys) == len(set(keys))
