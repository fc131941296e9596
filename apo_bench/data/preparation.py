"""Makes the embedded corpus: disjoint splits of prompts, human pairs, golden responses, demonstrations, pretraining text."""

import math
import random
from typing import Any

from apo_bench.config.data_sections import EmbeddedData
from apo_bench.core.errors import DataError
from apo_bench.core.seeds import derive_seed
from apo_bench.data.corpus import Corpus, Situation, load_corpus
from apo_bench.data.gold import gold_score
from apo_bench.data.records import COLUMNS, format_dialogue, prompt_id
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

Rows = list[dict[str, Any]]


def prepare_embedded(settings: EmbeddedData) -> tuple[dict[str, Rows], dict[str, Any]]:
    """All records of the profile, by file name, and a report of their counts.

    Raises:
        DataError: the corpus has too few prompts for the sizes asked for, or two splits share a prompt.
    """
    corpus = load_corpus().first(settings.num_topics, settings.num_misdeeds, settings.num_contexts, settings.num_templates)
    splits = _split_prompts(corpus, settings)
    pairs = {name: _draw_pairs(corpus, splits[name], settings, name) for name in SPLITS if splits[name]}
    temperature = label_temperature([pair["gold"] for rows in pairs.values() for pair in rows], settings.label_agreement)
    files: dict[str, Rows] = {}
    agreements = []
    for name, rows in pairs.items():
        rng = random.Random(derive_seed(settings.seed, "labels", name))
        labelled = [_label(row, temperature, rng) for row in rows]
        files[f"pairs_{name}"] = [row for row, _ in labelled]
        agreements += [agrees for _, agrees in labelled if agrees is not None]
    game = settings.num_game_prompts
    for name in ("rm", "lm"):
        files[f"golden_{name}"] = _responses(corpus, splits[name][:game], GOLDEN_QUALITY, settings.seed, f"golden_{name}")
    files["prompts_lm"] = [{key: row[key] for key in COLUMNS["prompts"]} for row in files["golden_lm"]]
    files["prompts_test"] = [{key: row[key] for key in COLUMNS["prompts"]} for row in files["pairs_test"][: settings.num_test_prompts]]
    files["golden_test"] = _responses(corpus, splits["test"][: settings.num_test_prompts], GOLDEN_QUALITY, settings.seed, "golden_test")
    files["demonstrations"] = _responses(corpus, splits["demonstrations"], DEMONSTRATION_QUALITY, settings.seed, "demonstrations")
    files["pretraining"] = _responses(corpus, splits["pretraining"], PRETRAINING_QUALITY, settings.seed, "pretraining")
    ids_by_split = {name: [row["id"] for row in files[f"pairs_{name}"]] for name in pairs}
    # These two may repeat prompts, within themselves and between them, and count as one split.
    ids_by_split["pretraining or demonstrations"] = sorted({row["id"] for row in files["pretraining"] + files["demonstrations"]})
    assert_disjoint(ids_by_split)
    report = {
        "num_records": {name: len(rows) for name, rows in files.items()},
        "label_temperature": temperature,
        "label_agreement": sum(agreements) / len(agreements),
        "gold": {name: _mean_gold(files[name]) for name in ("golden_rm", "demonstrations")},
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


def assert_disjoint(ids_by_split: dict[str, list[str]]) -> None:
    """Checks that no prompt stands in two splits or twice in one.

    Raises:
        DataError: naming the prompt's hash and the two splits.
    """
    owner: dict[str, str] = {}
    for split, ids in ids_by_split.items():
        for identity in ids:
            if identity in owner:
                raise DataError(f"prompt {identity} stands in {owner[identity]} and in {split}; splits must be disjoint")
            owner[identity] = split


def _split_prompts(corpus: Corpus, settings: EmbeddedData) -> dict[str, list[tuple[str, Situation]]]:
    """Disjoint splits with the asked share of harmful prompts; pretraining and demonstrations take what is left, with repetition."""
    by_subset: dict[str, list[tuple[str, Situation]]] = {"helpful": [], "harmless": []}
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
        for subset, count in (("harmless", num_harmful), ("helpful", size - num_harmful)):
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
        splits[name] = [rng.choice(by_subset["harmless" if rng.random() < settings.harmful_fraction else "helpful"]) for _ in range(size)]
    return splits


def _draw_pairs(corpus: Corpus, prompts: list[tuple[str, Situation]], settings: EmbeddedData, name: str) -> Rows:
    """Two different responses to each prompt, of independent quality, with their gold scores."""
    rng = random.Random(derive_seed(settings.seed, "pairs", name))
    rows = []
    for question, situation in prompts:
        dialogue = format_dialogue(question)
        first = second = write_response(corpus, situation, rng.uniform(*PAIR_QUALITY), rng)
        while first == second:  # HH is cleaned of such pairs too
            second = write_response(corpus, situation, rng.uniform(*PAIR_QUALITY), rng)
        gold = (gold_score(dialogue, first).score, gold_score(dialogue, second).score)
        rows.append({**_prompt(dialogue, situation), "responses": (first, second), "gold": gold})
    return rows


def _label(pair: dict[str, Any], temperature: float, rng: random.Random) -> tuple[dict[str, Any], bool | None]:
    """The human pair, and whether its label agrees with gold (None for a tie).

    Its probability is rounded to what a label is known by in any case, so that the file is the same whatever the last bits of exp are.
    """
    first, second = pair["gold"]
    probability = round(_sigmoid((first - second) / temperature), 6)
    prefers_first = rng.random() < probability
    chosen, rejected = pair["responses"] if prefers_first else reversed(pair["responses"])
    row = {**{key: pair[key] for key in ("id", "subset", "dialogue")}, "chosen": chosen, "rejected": rejected}
    row["probability"] = probability if prefers_first else round(1 - probability, 6)
    return row, None if first == second else prefers_first == (first > second)


def _responses(corpus: Corpus, prompts: list[tuple[str, Situation]], quality: tuple[float, float], seed: int, name: str) -> Rows:
    rng = random.Random(derive_seed(seed, "responses", name))
    return [
        {**_prompt(format_dialogue(question), situation), "response": write_response(corpus, situation, rng.uniform(*quality), rng)}
        for question, situation in prompts
    ]


def _prompt(dialogue: str, situation: Situation) -> dict[str, str]:
    return {"id": prompt_id(dialogue), "subset": situation.subset, "dialogue": dialogue}


def _mean_gold(rows: Rows) -> float:
    return sum(gold_score(row["dialogue"], row["response"]).score for row in rows) / len(rows)


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0
