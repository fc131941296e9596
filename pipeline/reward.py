"""Trains a reward model on human pairs alone, once a replicate.

RM_base on the RM half; RM_all, which only evaluates, on both halves; `no_adversarial` (AB), to tell the game from more training, in as many
steps as RM_base, each with as many sequences as a step of the game's reward models has: further human pairs in the place of the game's.
"""

from pathlib import Path
from typing import Any

from apo_bench.core import layout
from apo_bench.core.config import PARAMS, Params, load_params
from apo_bench.core.files import complete_directory
from apo_bench.core.layout import (
    BASE,
    DATA,
    LABELS,
    MODELS,
    NO_ADVERSARIAL,
    RESULTS,
    TEST_REWARD_MODEL,
    Files,
    base_model,
    records,
    replicate,
)
from apo_bench.core.results import final_numbers, write_training
from apo_bench.core.sections import RewardTraining
from apo_bench.core.seeds import reward_seed, use_threads
from apo_bench.data.records import read_records
from apo_bench.engines.training import training_engine
from apo_bench.evaluation.reward_models import evaluate_on_pairs
from apo_bench.models.card import Card
from apo_bench.models.language_model import save_model
from apo_bench.models.reward_model import new_reward_model
from apo_bench.models.tokenizer import load_tokenizer
from apo_bench.training.reward_models import train_reward

FILES = {BASE: ("rm",), TEST_REWARD_MODEL: ("rm", "lm"), NO_ADVERSARIAL: ("rm", "further")}


def files(reward_model: str, seed: int) -> Files:
    """A reward model of a replicate, from the base model and the human labels."""
    return Files(
        {"pairs_test": records(DATA, "pairs_test"), "labels": replicate(LABELS, seed), "base": base_model(MODELS)},
        {"output": layout.reward_model(MODELS, reward_model, seed), "results": layout.reward_model(RESULTS, reward_model, seed)},
    )


def main(reward_model: str, base: Path, pairs_test: Path, labels: Path, seed: int, output: Path, results: Path) -> tuple[str, Path]:
    """Trains a reward model on the labels; leaves it, its curves and its metrics on the test pairs."""
    name = reward_model
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    pairs = {file: read_records(records(labels, f"pairs_{file}"), "pairs") for file in FILES[name]}
    settings: RewardTraining = params.retrained_reward(name) if name == NO_ADVERSARIAL else params.fixed_reward(name)
    if name == NO_ADVERSARIAL:
        settings, pairs["further"] = as_long_as_the_game(params, settings, pairs)
    tokenizer = load_tokenizer(base)
    head_seed = reward_seed(seed, name, "head")
    model = new_reward_model(base, head_seed, params.compute, params.is_pretrained, settings.head_per_subset)
    order, rows = reward_seed(seed, name, "order"), [row for found in pairs.values() for row in found]
    history = train_reward(model, tokenizer, rows, settings, params.compute, training_engine(params), order, f"RM_{name}")
    test = read_records(pairs_test, "pairs")
    metrics, margins = evaluate_on_pairs(model, tokenizer, test, settings.max_length, params.compute, params.has_gold)
    made = f"Trained once on {len(rows)} human pairs by the Bradley-Terry loss."
    shown = {**metrics, **final_numbers(history)}
    card = Card(f"RM_{name}, seed {seed}", "reward_model", made, params.prepare.source, settings.model_dump(), shown, base)
    with complete_directory(output) as folder:
        save_model(model, tokenizer, folder, card)
    return write_training(results, history, metrics, margins), output


def as_long_as_the_game(
    params: Params, settings: RewardTraining, pairs: dict[str, list[dict[str, Any]]]
) -> tuple[RewardTraining, list[dict[str, Any]]]:
    """Settings with the batch that keeps RM_base's number of steps, and further pairs with as many sequences as the game's groups have."""
    further = pairs["further"][: params.num_further_pairs]
    num_steps = -(-len(pairs["rm"]) // settings.batch_size)
    return settings.model_copy(update={"batch_size": -(-(len(pairs["rm"]) + len(further)) // num_steps)}), further
