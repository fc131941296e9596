"""The hand-written content: enough of it, and every prompt leads back to its own request and circumstance."""

from itertools import permutations

from apo_bench.data.corpus import load_corpus
from apo_bench.data.records import format_dialogue
from apo_bench.data.writer import all_prompts

CORPUS = load_corpus()


def test_there_is_enough():
    assert len(CORPUS.topics) >= 40
    assert {len(topic.steps) for topic in CORPUS.topics} == {6}
    assert len(CORPUS.misdeeds) >= 20


def test_every_sentence_ends_with_a_full_stop_and_stands_once():
    """The gold scorer tells sentences apart by their words."""
    sentences = [step for topic in CORPUS.topics for step in topic.steps]
    sentences += [text for misdeed in CORPUS.misdeeds for text in (misdeed.reason, misdeed.alternative, *misdeed.comply)]
    sentences += [context.advice for context in (*CORPUS.helpful_contexts, *CORPUS.harmful_contexts)]
    sentences += [*CORPUS.refusals, *CORPUS.compliances, *CORPUS.openings, *CORPUS.closings, *CORPUS.vague, *CORPUS.rude]
    assert len({sentence.lower() for sentence in sentences}) == len(sentences)
    assert all(sentence.find(".") == len(sentence) - 1 for sentence in sentences)


def test_no_request_or_circumstance_is_part_of_another():
    asks = [request.ask for request in (*CORPUS.topics, *CORPUS.misdeeds)]
    assert [(part, whole) for part, whole in permutations(asks, 2) if part in whole] == []
    for contexts in (CORPUS.helpful_contexts, CORPUS.harmful_contexts):
        assert [(a, b) for a, b in permutations([context.statement for context in contexts], 2) if a in b] == []


def test_every_prompt_is_located_to_its_own_situation():
    prompts = list(all_prompts(CORPUS))
    assert len({question for question, _ in prompts}) == len(prompts)
    assert all(CORPUS.locate(format_dialogue(question)) == situation for question, situation in prompts)
