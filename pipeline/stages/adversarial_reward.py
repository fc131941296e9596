"""The reward model's step of a round: on what its player asks for of human pairs, golden responses and the policy's samples."""

from pathlib import Path

from apo_bench.config.params import PARAMS, Params, load_params
from apo_bench.core import layout
from apo_bench.core.files import complete_directory
from apo_bench.core.layout import DATA, FIRST_ROUND, LABELS, MODELS, RESULTS, Arm, base_model, records, replicate, round_before
from apo_bench.core.results import final_numbers, write_training
from apo_bench.core.seeds import derive_seed, reward_seed, use_threads
from apo_bench.core.stage import Files, Sizes, Stage, Step, Work
from apo_bench.data.labels import labels_by_gold
from apo_bench.data.records import read_records
from apo_bench.engines.training import training_engine
from apo_bench.models.card import Card
from apo_bench.models.language_model import save_model
from apo_bench.models.reward_model import load_reward_model, new_reward_model
from apo_bench.models.tokenizer import load_tokenizer
from apo_bench.reward_models.player import GOLDEN, HUMAN, LOG_RATIOS, SAMPLES, SFT_SAMPLES, Material
from apo_bench.training.reward_models import log_ratios, train_reward_model

STAGE = Stage(runs="training", counts=("num_tokens_trained",), step=Step.REWARD_MODEL)


def files(reward_model: str, seed: int, round: str, method: str = "") -> Files:
    """The reward model of a round, from the base model, human labels, golden responses, and the policy's samples and SFT's.

    After round 1 it may go on from last round's, which is that of round 1 or lies with the arm's policy of the round before.
    """
    arm = Arm(method, reward_model, seed)
    reads = {
        "golden": records(DATA, "golden_rm"),
        "labels": replicate(LABELS, seed),
        "base": base_model(MODELS),
        "sft": layout.sft(MODELS, seed),
        "sft_samples": arm.samples(layout.SAMPLES, FIRST_ROUND, "rm"),
        "samples": arm.samples(layout.SAMPLES, round, "rm"),
    }
    if round != FIRST_ROUND:
        reads |= {"first": arm.reward(MODELS, FIRST_ROUND), "before": arm.in_round(MODELS, round_before(round))}
    return Files(reads, {"output": arm.reward(MODELS, round), "results": arm.reward(RESULTS, round)})


def work(params: Params, sizes: Sizes, reward_model: str, round: str) -> Work:
    """Human pairs and golden responses with samples in each epoch; where there is no game as many others."""
    player, train = params.reward_model(reward_model), params.sampling.train
    pairs = sizes.rows("pairs_rm", own=2)
    trained = pairs * bool(player.human_weight) + sizes.rows("golden_rm", 1, train.num_samples, train.max_new_tokens)
    is_read = LOG_RATIOS in player.trains_on and round != FIRST_ROUND  # in that the policy is SFT's
    return Work(train_reward=trained * player.settings.epochs, read_policy=2 * pairs * is_read)


def main(
    reward_model: str,
    seed: int,
    round: str,
    method: str,
    base: Path,
    golden: Path,
    labels: Path,
    samples: Path,
    sft: Path,
    sft_samples: Path,
    output: Path,
    results: Path,
) -> tuple[str, Path]:
    """Trains a reward model as its player says, for an arm or, in round 1, for all methods.

    SEED and ROUND name the random draws.
    """
    name, arm = reward_model, Arm(method, reward_model, seed)
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    player, tokenizer = params.reward_model(name), load_tokenizer(base)
    settings = player.settings
    if player.start == "previous" and round != FIRST_ROUND:
        model = load_reward_model(arm.reward(MODELS, round_before(round)), params.compute, for_training=True)
    else:
        model = new_reward_model(base, reward_seed(seed, name, "head"), params.compute, params.is_pretrained, params.heads(settings))
    human, policy = read_records(records(labels, "pairs_rm"), "pairs"), arm.policy_before(MODELS, round)
    material = Material(
        {
            HUMAN: lambda: human,
            GOLDEN: lambda: read_records(golden, "responses"),
            SAMPLES: lambda: read_records(samples, "samples"),
            SFT_SAMPLES: lambda: read_records(sft_samples, "samples"),
        },
        len(human),
        params.num_game_pairs,
        derive_seed(seed, "pairs to label", round),
        lambda pairs: labels_by_gold(pairs, human, derive_seed(seed, "labels of samples", round)),
        lambda pairs: log_ratios(policy, sft, pairs, settings.max_length, params.compute),
    )
    history, _ = train_reward_model(
        model,
        tokenizer,
        player,
        material,
        params.compute,
        training_engine(params),
        reward_seed(seed, name, "order"),
        derive_seed(seed, "adversarial_reward", round),
        f"{name} {round}: reward model",
    )
    made = f"Trained for {round} on {', '.join(player.trains_on)}; samples are those of {samples}."
    title = f"Reward model {name}, seed {seed}, of {round}"
    card = Card(title, "reward_model", made, params.prepare.source, settings.model_dump(), final_numbers(history), base)
    with complete_directory(output) as folder:
        save_model(model, tokenizer, folder, card)
    return write_training(results, history, {}), output
