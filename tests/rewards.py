"""Training of reward models by the players of apo_bench/reward_models, on records that a test has at hand."""

from apo_bench.reward_models.base import REWARD_MODEL as BASE
from apo_bench.reward_models.player import FURTHER, GOLDEN, HUMAN, SAMPLES, SFT_SAMPLES, Material
from apo_bench.training.reward_models import train_reward_model


def material(pairs, golden=(), samples=(), further=(), sft_samples=(), **others) -> Material:
    """What a round offers."""
    rows = {HUMAN: pairs, GOLDEN: golden, SAMPLES: samples, FURTHER: further, SFT_SAMPLES: sft_samples}
    return Material({source: lambda found=found: list(found) for source, found in rows.items()}, len(pairs), **others)


def train_player(model, tokenizer, offered, player, compute, engine, game_seed, seed, title):
    """The curves of a player."""
    return train_reward_model(model, tokenizer, player, offered, compute, engine, seed, game_seed, title)[0]


def train_on_pairs(model, tokenizer, pairs, settings, compute, engine, seed, title):
    """The curves of the plain one, on human pairs alone."""
    return train_player(model, tokenizer, material(pairs), BASE(settings), compute, engine, 0, seed, title)
