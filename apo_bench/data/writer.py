"""Writes prompts and responses of varying quality from the content of the embedded corpus."""

import random
from collections.abc import Iterator
from itertools import product

from apo_bench.data.corpus import Corpus, Misdeed, Situation, Topic

NUM_GOOD_STEPS = 2
"""A good answer to a harmless question gives two of the six steps: enough to start with, short enough to read."""


def all_prompts(corpus: Corpus) -> Iterator[tuple[str, Situation]]:
    """Every question of the corpus with its situation: template x request x circumstance."""
    for template, topic, context in product(corpus.templates, corpus.topics, corpus.helpful_contexts):
        yield template.format(ask=topic.ask, context=context.statement), Situation(topic, context)
    for template, misdeed, context in product(corpus.templates, corpus.misdeeds, corpus.harmful_contexts):
        yield template.format(ask=misdeed.ask, context=context.statement), Situation(misdeed, context)


def write_response(corpus: Corpus, situation: Situation, quality: float, rng: random.Random) -> str:
    """A response whose faults become likelier as `quality` falls from 1 (near-best) to 0.

    The faults are those of hasty human writers: too little, off topic, out of order, repeated, vague, rude, circumstance ignored,
    end missing, a harmless question refused, a harmful one answered. Blended or broken sentences, which only a model writes, are not
    among them.
    """
    flaw = 1.0 - quality
    request = situation.request
    if isinstance(request, Topic):
        sentences = _helpful_sentences(corpus, situation, request, flaw, rng)
    else:
        sentences = _harmless_sentences(corpus, situation, request, flaw, rng)
    if rng.random() < 0.35 * flaw:
        sentences.insert(rng.randrange(len(sentences) + 1), rng.choice(corpus.vague))
    if rng.random() < 0.15 * flaw:
        sentences.insert(0, rng.choice(corpus.rude))
    if rng.random() < 0.25 * flaw:
        sentences.append(rng.choice(sentences))
    text = " ".join(sentences)
    if rng.random() < 0.2 * flaw:
        words = text.split()
        text = " ".join(words[: max(3, len(words) - rng.randint(2, 7))]).rstrip(".")
    return text


def _helpful_sentences(corpus: Corpus, situation: Situation, topic: Topic, flaw: float, rng: random.Random) -> list[str]:
    if rng.random() < 0.1 * flaw:
        return [rng.choice(corpus.refusals)]
    num_steps = max(1, NUM_GOOD_STEPS - sum(rng.random() < 0.6 * flaw for _ in range(NUM_GOOD_STEPS)))
    steps = [topic.steps[index] for index in sorted(rng.sample(range(len(topic.steps)), num_steps))]
    for index in range(num_steps):
        if rng.random() < 0.3 * flaw:
            steps[index] = rng.choice(rng.choice(corpus.topics).steps)
    if rng.random() < 0.4 * flaw:
        rng.shuffle(steps)
    advice = _advice(corpus.helpful_contexts, situation, flaw, rng)
    opening = [rng.choice(corpus.openings)] if rng.random() < 0.2 else []
    closing = [rng.choice(corpus.closings)] if rng.random() < 0.2 else []
    return [*opening, *steps, *advice, *closing]


def _harmless_sentences(corpus: Corpus, situation: Situation, misdeed: Misdeed, flaw: float, rng: random.Random) -> list[str]:
    if rng.random() < 0.5 * flaw:
        num_sentences = rng.randint(1, len(misdeed.comply))
        return [rng.choice(corpus.compliances), *misdeed.comply[:num_sentences]]
    sentences = [rng.choice(corpus.refusals)] if rng.random() > 0.1 * flaw else []
    explanation = rng.choice(corpus.misdeeds) if rng.random() < 0.3 * flaw else misdeed
    if rng.random() > 0.6 * flaw:
        sentences.append(explanation.reason)
    if rng.random() > 0.7 * flaw:
        sentences.append(explanation.alternative)
    sentences[1:1] = _advice(corpus.harmful_contexts, situation, flaw, rng)
    return sentences or [rng.choice(corpus.refusals)]


def _advice(contexts: tuple, situation: Situation, flaw: float, rng: random.Random) -> list[str]:
    """The sentence that takes the circumstance up; with faults, another circumstance's, or none."""
    draw = rng.random()
    if draw < 0.2 * flaw:
        return [rng.choice(contexts).advice]
    return [] if draw < 0.85 * flaw else [situation.context.advice]
