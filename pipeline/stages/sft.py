"""Supervised fine-tuning of the base model on the demonstrations: the policy that every arm starts from."""

from pathlib import Path

from apo_bench.config.params import PARAMS, Params, load_params
from apo_bench.core.files import complete_directory
from apo_bench.core.layout import DATA, MODELS, RESULTS, base_model, records, sft
from apo_bench.core.results import final_numbers, write_training
from apo_bench.core.seeds import derive_seed, use_threads
from apo_bench.core.stage import Files, Sizes, Stage, Step, Work
from apo_bench.data.records import read_records
from apo_bench.engines.training import training_engine
from apo_bench.models.card import Card
from apo_bench.models.language_model import load_language_model, save_model
from apo_bench.models.tokenizer import load_tokenizer
from apo_bench.training.policies import fine_tune

STAGE = Stage(runs="training", counts=("num_tokens_trained",), uses_ranks=lambda params: params.sft.epochs > 0, step=Step.SFT)


def files(seed: int) -> Files:
    """SFT of a replicate, from the base model and the demonstrations."""
    return Files(
        {"demonstrations": records(DATA, "demonstrations"), "base": base_model(MODELS)},
        {"output": sft(MODELS, seed), "results": sft(RESULTS, seed)},
    )


def work(params: Params, sizes: Sizes) -> Work:
    """The demonstrations, in each epoch."""
    return Work(train_policy=sizes.count["demonstrations"] * sizes.sequence["demonstrations"] * params.sft.epochs)


def main(base: Path, demonstrations: Path, seed: int, output: Path, results: Path) -> tuple[str, Path]:
    """Trains the base model on the demonstrations, or takes it as it is (0 epochs); leaves the policy and its curves."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    settings, compute = params.sft, params.compute
    rows = read_records(demonstrations, "responses") if settings.epochs else []
    model, tokenizer = load_language_model(base, compute, for_training=True), load_tokenizer(base)
    history = fine_tune(model, tokenizer, rows, settings, compute, training_engine(params), derive_seed(seed, "sft"), "SFT") if rows else []
    made = f"Fine-tuned on {len(rows)} demonstrations; every arm of the replicate starts from it." if rows else "The base model as it is."
    source, title = params.prepare.source if rows else None, f"SFT, seed {seed}"
    card = Card(title, "policy", made, source, settings.model_dump() if rows else {}, final_numbers(history), base)
    with complete_directory(output) as folder:
        save_model(model, tokenizer, folder, card)
    return write_training(results, history, {"num_examples": len(rows)}), output
