"""Trains the tokenizer and a small Llama from scratch on the pretraining text."""

from pathlib import Path

from apo_bench.core.config import PARAMS, load_params
from apo_bench.core.files import complete_directory
from apo_bench.core.results import write_training
from apo_bench.core.seeds import derive_seed, use_threads
from apo_bench.data.records import parse_dialogue, read_records
from apo_bench.models.language_model import new_llama, save_model
from apo_bench.models.tokenizer import train_tokenizer
from apo_bench.training.policies import pretrain


def main(data: Path, output: Path, results: Path) -> tuple[str, Path]:
    """Trains on DATA/pretraining.jsonl; writes the model to OUTPUT and the curves to RESULTS."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    settings = params.base_model
    rows = read_records(data / "pretraining.jsonl", "responses")
    texts = [message["content"] for row in rows for message in parse_dialogue(row["dialogue"])] + [row["response"] for row in rows]
    tokenizer = train_tokenizer(texts, settings.vocab_size)
    model = new_llama(settings, tokenizer, derive_seed(settings.seed, "base_model", "weights"))
    history = pretrain(model, tokenizer, rows, settings, derive_seed(settings.seed, "base_model", "order"), "base model")
    with complete_directory(output) as folder:
        save_model(model, tokenizer, folder)
    metrics = {"num_examples": len(rows), "num_parameters": model.num_parameters()}
    return write_training(results, history, metrics), output
