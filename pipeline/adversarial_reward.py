"""The reward model's step of a round: on human pairs and on golden responses against the policy's samples."""

from pathlib import Path

from apo_bench.core.config import PARAMS, load_params
from apo_bench.core.files import complete_directory
from apo_bench.core.results import final_numbers, write_training
from apo_bench.core.sections import FIRST_ROUND, START_ROUND
from apo_bench.core.seeds import derive_seed, reward_seed, use_threads
from apo_bench.data.labels import labels_by_gold
from apo_bench.data.records import read_records
from apo_bench.engines.training import training_engine
from apo_bench.evaluation.reward_models import evaluate_on_pairs
from apo_bench.models.card import Card
from apo_bench.models.language_model import save_model
from apo_bench.models.reward_model import load_reward_model, new_reward_model
from apo_bench.models.tokenizer import load_tokenizer
from apo_bench.reward_models.player import GOLDEN, HUMAN, SAMPLES, SFT_SAMPLES, Material
from apo_bench.training.reward_models import log_ratios, train_reward_model


def main(
    name: str,
    base: Path,
    first: Path,
    later: Path,
    previous: str,
    data: Path,
    labels: Path,
    samples: Path,
    sft: Path,
    sft_samples: Path,
    seed: int,
    round: str,
    output: Path,
    results: Path,
) -> tuple[str, Path]:
    """Trains the reward model NAME on LABELS and SAMPLES of the RM half, as its player says; SEED and ROUND name the random draws.

    It starts from BASE or, if it says so and there is one, from that of the PREVIOUS round: FIRST, or one of the rounds in LATER. The
    policy at the round's start is that of the PREVIOUS round in LATER, or SFT, which drew SFT_SAMPLES.
    """
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    player, tokenizer = params.reward_model(name), load_tokenizer(base)
    settings = player.settings
    if player.start == "previous" and previous != START_ROUND:
        folder = first if previous == FIRST_ROUND else later / previous / "reward"
        model = load_reward_model(folder, params.compute, for_training=True)
    else:
        model = new_reward_model(base, reward_seed(seed, name, "head"), params.compute, params.is_pretrained, settings.head_per_subset)
    human = read_records(labels / "pairs_rm.jsonl", "pairs")
    policy = sft if round == FIRST_ROUND else later / previous / "policy"
    material = Material(
        {
            HUMAN: lambda: human,
            GOLDEN: lambda: read_records(data / "golden_rm.jsonl", "responses"),
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
    pairs_test = read_records(data / "pairs_test.jsonl", "pairs")
    if round not in (FIRST_ROUND, params.run.rounds[-1]):
        pairs_test = pairs_test[: params.evaluate.num_earlier_pairs]
    metrics, margins = evaluate_on_pairs(model, tokenizer, pairs_test, settings.max_length, params.compute, params.has_gold)
    made = f"Trained for {round} on {', '.join(player.trains_on)}; samples are those of {samples}."
    shown = {**metrics, **final_numbers(history)}
    title = f"Reward model {name}, seed {seed}, of {round}"
    card = Card(title, "reward_model", made, params.prepare.source, settings.model_dump(), shown, base)
    with complete_directory(output) as folder:
        save_model(model, tokenizer, folder, card)
    return write_training(results, history, metrics, margins), output
