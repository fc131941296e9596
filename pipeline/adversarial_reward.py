"""The reward model's step of a round: on human pairs and on golden responses against the policy's samples."""

from pathlib import Path

from apo_bench.core.config import PARAMS, load_params
from apo_bench.core.files import complete_directory
from apo_bench.core.results import final_numbers, write_training
from apo_bench.core.sections import FIRST_ROUND, START_ROUND
from apo_bench.core.seeds import derive_seed, reward_seed, use_threads
from apo_bench.data.records import read_records
from apo_bench.engines.training import training_engine
from apo_bench.evaluation.reward_models import evaluate_on_pairs
from apo_bench.models.card import Card
from apo_bench.models.language_model import save_model
from apo_bench.models.reward_model import load_reward_model, new_reward_model
from apo_bench.models.tokenizer import load_tokenizer
from apo_bench.training.reward_models import train_adversarial_reward


def main(
    name: str,
    base: Path,
    first: Path,
    later: Path,
    previous: str,
    data: Path,
    labels: Path,
    samples: Path,
    seed: int,
    round: str,
    output: Path,
    results: Path,
) -> tuple[str, Path]:
    """Trains the reward model NAME against SAMPLES of the RM half and on LABELS; SEED and ROUND name the random draws.

    It starts from BASE or, if it says so and there is one, from that of the PREVIOUS round: FIRST, or one of the rounds in LATER.
    """
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    settings = params.retrained_reward(name)
    tokenizer = load_tokenizer(base)
    if settings.start == "previous" and previous != START_ROUND:
        folder = first if previous == FIRST_ROUND else later / previous / "reward"
        model = load_reward_model(folder, params.compute, for_training=True)
    else:
        model = new_reward_model(base, reward_seed(seed, name, "head"), params.compute, params.is_pretrained, settings.head_per_subset)
    history = train_adversarial_reward(
        model,
        tokenizer,
        read_records(labels / "pairs_rm.jsonl", "pairs"),
        read_records(data / "golden_rm.jsonl", "responses"),
        read_records(samples, "samples"),
        settings,
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
    made = f"Trained for {round} on human pairs and on golden responses against the policy's own samples of {samples}."
    shown = {**metrics, **final_numbers(history)}
    title = f"Reward model {name}, seed {seed}, of {round}"
    card = Card(title, "reward_model", made, params.prepare.source, settings.model_dump(), shown, base)
    with complete_directory(output) as folder:
        save_model(model, tokenizer, folder, card)
    return write_training(results, history, metrics, margins), output
