"""The embedded corpus: disjoint splits of prompts, human pairs, golden responses, demonstrations, pretraining text; gold is known."""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from apo_bench.config.data_sections import Data, Kind
from apo_bench.config.sections import Count, Fraction
from apo_bench.core.errors import DataError
from apo_bench.core.records import PairRow, PromptRow, ResponseRow, prompt_of
from apo_bench.core.seeds import derive_seed
from apo_bench.data.corpus import HARMLESS, HELPFUL, Corpus, Situation, load_corpus
from apo_bench.data.gold import gold_score
from apo_bench.data.records import assert_disjoint, format_dialogue, prompt_id
from apo_bench.data.writer import all_prompts, write_response

GOLDEN_QUALITY = (0.95, 1.0)
DEMONSTRATION_QUALITY = (0.0, 0.7)
"""Mixed demonstrations leave alignment room above the SFT policy."""
PAIR_QUALITY = (0.0, 1.0)
PRETRAINING_QUALITY = (0.4, 1.0)

SPLITS = {
    "rm": "num_rm_prompts",
    "lm": "num_lm_prompts",
    "validation": "num_validation_prompts",
    "test": "num_test_pairs",
    "further": "num_further_pairs",
}
"""Splits with human pairs, one a prompt, and the key of their size."""


class _Unlabelled(NamedTuple):
    """Two responses to a prompt, and what gold makes of them."""

    prompt: PromptRow
    responses: tuple[str, str]
    gold: tuple[float, float]


class Embedded(Data):
    """How many of what. Prompts of the splits are disjoint."""

    has_gold = True
    card = "The embedded corpus: English requests and answers written by code, with labels drawn from a scorer. No person wrote them."

    num_topics: Count
    """Harmless requests of the corpus that the world has: the first of them. A smaller world is one that a smaller model masters."""
    num_misdeeds: Count
    """Requests to be declined."""
    num_contexts: Count
    """Circumstances of each kind of request."""
    num_templates: Count
    """Ways to put a question."""
    num_pretraining_examples: Count
    num_demonstrations: Count
    harmful_fraction: Fraction
    label_agreement: Annotated[float, Field(gt=0.5, lt=1)]
    """Share of human labels that agree with the gold order; the temperature of the Bradley-Terry draw is fitted to it."""

    @property
    def kinds(self) -> dict[str, Kind]:
        """As HH names its parts."""
        return {HELPFUL: Kind("harmless questions"), HARMLESS: Kind("harmful requests", "which often prefers what helpful does not")}

    @property
    def golden_words(self) -> str:
        """See `Data`."""
        return "A near-best response to a prompt; stands for an expert's or a strong model's."

    def prepare(self) -> tuple[Mapping[str, Sequence[PromptRow]], dict[str, Any]]:
        """See `Data`.

        Raises:
            DataError: the corpus has too few prompts for the sizes asked for, or two splits share a prompt.
        """
        return _prepare(self)


SOURCE = Embedded


def _prepare(settings: Embedded) -> tuple[Mapping[str, Sequence[PromptRow]], dict[str, Any]]:
    corpus = load_corpus().first(settings.num_topics, settings.num_misdeeds, settings.num_contexts, settings.num_templates)
    splits = _split_prompts(corpus, settings)
    pairs = {name: _draw_pairs(corpus, splits[name], settings, name) for name in SPLITS if splits[name]}
    temperature = label_temperature([pair.gold for rows in pairs.values() for pair in rows], settings.label_agreement)
    human: dict[str, list[PairRow]] = {}
    agreements = []
    for name, rows in pairs.items():
        rng = random.Random(derive_seed(settings.seed, "labels", name))
        labelled = [_label(pair, temperature, rng) for pair in rows]
        human[name] = [row for row, _ in labelled]
        agreements += [agrees for _, agrees in labelled if agrees is not None]
    game, num_test = settings.num_game_prompts, settings.num_test_prompts
    written = {
        "golden_rm": (splits["rm"][:game], GOLDEN_QUALITY),
        "golden_lm": (splits["lm"][:game], GOLDEN_QUALITY),
        "golden_test": (splits["test"][:num_test], GOLDEN_QUALITY),
        "demonstrations": (splits["demonstrations"], DEMONSTRATION_QUALITY),
        "pretraining": (splits["pretraining"], PRETRAINING_QUALITY),
    }
    responses = {name: _responses(corpus, prompts, quality, settings.seed, name) for name, (prompts, quality) in written.items()}
    files: dict[str, Sequence[PromptRow]] = {
        **{f"pairs_{name}": rows for name, rows in human.items()},
        "prompts_lm": list(map(prompt_of, responses["golden_lm"])),
        "prompts_test": list(map(prompt_of, human["test"][:num_test])),
        **responses,
    }
    ids_by_split = {name: [row["id"] for row in rows] for name, rows in human.items()}
    # These two may repeat prompts, within themselves and between them, and count as one split.
    ids_by_split["pretraining or demonstrations"] = sorted({row["id"] for row in responses["pretraining"] + responses["demonstrations"]})
    assert_disjoint(ids_by_split)
    report = {
        "num_records": {name: len(rows) for name, rows in files.items()},
        "label_temperature": temperature,
        "label_agreement": sum(agreements) / len(agreements),
        "gold": {name: _mean_gold(responses[name]) for name in ("golden_rm", "demonstrations")},
    }
    return files, report


def label_temperature(gold: list[tuple[float, float]], agreement: float) -> float:
    """The temperature t at which Bradley-Terry labels, P(first preferred) = sigmoid(difference / t), agree with gold as often as asked.

    Raises:
        DataError: all pairs are ties.
    """
    gaps = [abs(first - second) for first, second in gold if first != second]
    if not gaps:
        raise DataError("every pair ties in gold: nothing to label; make more prompts")
    low, high = 1e-3, 1e3
    for _ in range(80):  # agreement falls as the temperature rises
        middle = math.sqrt(low * high)
        reached = sum(_sigmoid(gap / middle) for gap in gaps) / len(gaps)
        low, high = (middle, high) if reached > agreement else (low, middle)
    return middle


def _split_prompts(corpus: Corpus, settings: Embedded) -> dict[str, list[tuple[str, Situation]]]:
    """Disjoint splits with the asked share of harmful prompts; pretraining and demonstrations take what is left, with repetition."""
    by_subset: dict[str, list[tuple[str, Situation]]] = {HELPFUL: [], HARMLESS: []}
    for question, situation in all_prompts(corpus):
        by_subset[situation.subset].append((question, situation))
    rng = random.Random(derive_seed(settings.seed, "splits"))
    for prompts in by_subset.values():
        rng.shuffle(prompts)
    splits: dict[str, list[tuple[str, Situation]]] = {}
    for name, key in SPLITS.items():
        size = getattr(settings, key)
        num_harmful = round(size * settings.harmful_fraction)
        chosen = []
        for subset, count in ((HARMLESS, num_harmful), (HELPFUL, size - num_harmful)):
            if count > len(by_subset[subset]):
                left = len(by_subset[subset])
                raise DataError(f"{key}: {count} {subset} prompts wanted, {left} left of the corpus; ask for fewer")
            chosen += by_subset[subset][:count]
            del by_subset[subset][:count]
        rng.shuffle(chosen)
        splits[name] = chosen
    for name, size in (("demonstrations", settings.num_demonstrations), ("pretraining", settings.num_pretraining_examples)):
        if not all(by_subset.values()):
            raise DataError(f"{name}: no prompts left of the corpus; ask for smaller splits")
        splits[name] = [rng.choice(by_subset[HARMLESS if rng.random() < settings.harmful_fraction else HELPFUL]) for _ in range(size)]
    return splits


def _draw_pairs(corpus: Corpus, prompts: list[tuple[str, Situation]], settings: Embedded, name: str) -> list[_Unlabelled]:
    """Two different responses to each prompt, of independent quality, with their gold scores."""
    rng = random.Random(derive_seed(settings.seed, "pairs", name))
    pairs = []
    for question, situation in prompts:
        dialogue = format_dialogue(question)
        first = second = write_response(corpus, situation, rng.uniform(*PAIR_QUALITY), rng)
        while first == second:  # HH is cleaned of such pairs too
            second = write_response(corpus, situation, rng.uniform(*PAIR_QUALITY), rng)
        gold = (gold_score(dialogue, first).score, gold_score(dialogue, second).score)
        pairs.append(_Unlabelled(_prompt(dialogue, situation), (first, second), gold))
    return pairs


def _label(pair: _Unlabelled, temperature: float, rng: random.Random) -> tuple[PairRow, bool | None]:
    """The human pair, and whether its label agrees with gold (None for a tie).

    Its probability is rounded to what a label is known by in any case, so that the file is the same whatever the last bits of exp are.
    """
    first, second = pair.gold
    probability = round(_sigmoid((first - second) / temperature), 6)
    prefers_first = rng.random() < probability
    chosen, rejected = pair.responses if prefers_first else reversed(pair.responses)
    own = probability if prefers_first else round(1 - probability, 6)
    row: PairRow = {**pair.prompt, "chosen": chosen, "rejected": rejected, "probability": own}
    return row, None if first == second else prefers_first == (first > second)


def _responses(
    corpus: Corpus, prompts: list[tuple[str, Situation]], quality: tuple[float, float], seed: int, name: str
) -> list[ResponseRow]:
    rng = random.Random(derive_seed(seed, "responses", name))
    return [
        {**_prompt(format_dialogue(question), situation), "response": write_response(corpus, situation, rng.uniform(*quality), rng)}
        for question, situation in prompts
    ]


def _prompt(dialogue: str, situation: Situation) -> PromptRow:
    return {"id": prompt_id(dialogue), "subset": situation.subset, "dialogue": dialogue}


def _mean_gold(rows: list[ResponseRow]) -> float:
    return sum(gold_score(row["dialogue"], row["response"]).score for row in rows) / len(rows)


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0
