"""Trains a reward model that learns nothing from the policy, once a replicate: RM_base, AB, and RM_all, which only evaluates."""

from pathlib import Path
from typing import Any

from apo_bench.config.params import PARAMS, Params, load_params
from apo_bench.core import layout
from apo_bench.core.files import complete_directory
from apo_bench.core.layout import LABELS, MODELS, RESULTS, TEST_REWARD_MODEL, base_model, records, replicate
from apo_bench.core.results import final_numbers, write_training
from apo_bench.core.seeds import reward_seed, use_threads
from apo_bench.core.stage import Files, Sizes, Stage, Step, Work
from apo_bench.data.records import read_records
from apo_bench.engines.training import training_engine
from apo_bench.models.card import Card
from apo_bench.models.ensemble import join, save_members
from apo_bench.models.language_model import save_model
from apo_bench.models.reward_model import new_reward_model
from apo_bench.models.tokenizer import load_tokenizer
from apo_bench.reward_models.player import FURTHER, HUMAN, Material
from apo_bench.training.reward_models import mean_reward, train_reward_model

STAGE = Stage(
    runs="training",
    counts=("num_tokens_trained",),
    step=lambda at: Step.TEST_REWARD_MODEL if at["reward_model"] == TEST_REWARD_MODEL else Step.REWARD_MODEL,
)


def files(reward_model: str, seed: int) -> Files:
    """A reward model of a replicate, from the base model and the human labels."""
    return Files(
        {"labels": replicate(LABELS, seed), "base": base_model(MODELS)},
        {"output": layout.reward_model(MODELS, reward_model, seed), "results": layout.reward_model(RESULTS, reward_model, seed)},
    )


def work(params: Params, sizes: Sizes, reward_model: str) -> Work:
    """Human pairs in each epoch, by each member of an ensemble."""
    player, trained = params.reward_model(reward_model), sizes.rows("pairs_rm", own=2)
    if reward_model == TEST_REWARD_MODEL:
        trained += sizes.rows("pairs_lm", own=2)
    if FURTHER in player.trains_on:
        trained *= 1 + params.num_game_pairs / sizes.count["pairs_rm"]
    return Work(train_reward=player.num_members * trained * player.settings.epochs)


def main(reward_model: str, base: Path, labels: Path, seed: int, output: Path, results: Path) -> tuple[str, Path]:
    """Trains a reward model on the labels; leaves it and its curves."""
    name = reward_model
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    player, tokenizer = params.reward_model(name), load_tokenizer(base)
    settings = player.settings
    halves = ("rm", "lm") if name == TEST_REWARD_MODEL else ("rm",)
    human = [row for half in halves for row in read_records(records(labels, f"pairs_{half}"), "pairs")]
    further = 0 if name == TEST_REWARD_MODEL else params.num_game_pairs  # which learns from what the others do not see
    material = Material(
        {HUMAN: lambda: human, FURTHER: lambda: read_records(records(labels, "pairs_further"), "pairs")[:further]}, len(human), further
    )
    ensemble, members, history = player.ensemble, [], list[dict[str, Any]]()
    for number in range(ensemble.num_members if ensemble else 1):
        head, order = (reward_seed(seed, name, what, number) for what in ("head", "order"))
        model = new_reward_model(base, head, params.compute, params.is_pretrained, params.heads(settings))
        rows, num_pairs = train_reward_model(
            model, tokenizer, player, material, params.compute, training_engine(params), order, order, f"RM_{name}"
        )
        history += [row | {"step": len(history) + number} for number, row in enumerate(rows, start=1)]
        members.append(model)
    model = members[0]
    if ensemble:
        join(members, ensemble, [mean_reward(member, tokenizer, human, settings.max_length, params.compute) for member in members])
    made = f"Trained once on {num_pairs} human pairs by the Bradley-Terry loss{f', {len(members)} members' if ensemble else ''}."
    title = f"RM_{name}, seed {seed}"
    card = Card(title, "reward_model", made, params.prepare.source, settings.model_dump(), final_numbers(history), base)
    with complete_directory(output) as folder:
        save_model(model, tokenizer, folder, card)
        save_members(model, tokenizer, folder)
    return write_training(results, history, {}), output
