"""Trains a fixed reward model on human pairs: RM_base on the RM half, RM_all, which only evaluates, on both halves."""

from pathlib import Path

from apo_bench.core.config import PARAMS, load_params
from apo_bench.core.files import complete_directory
from apo_bench.core.results import write_training
from apo_bench.core.seeds import derive_seed, use_threads
from apo_bench.data.records import read_records
from apo_bench.engines.training import training_engine
from apo_bench.evaluation.reward_models import evaluate_on_pairs
from apo_bench.models.language_model import save_model
from apo_bench.models.reward_model import new_reward_model
from apo_bench.models.tokenizer import load_tokenizer
from apo_bench.training.reward_models import train_reward

HALVES = {"base": ("rm",), "all": ("rm", "lm")}


def main(name: str, base: Path, data: Path, output: Path, results: Path) -> tuple[str, Path]:
    """Trains RM_NAME from BASE; writes it to OUTPUT and its curves and metrics on the test pairs to RESULTS."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    settings = params.fixed_reward(name)
    pairs = [row for half in HALVES[name] for row in read_records(data / f"pairs_{half}.jsonl", "pairs")]
    tokenizer = load_tokenizer(base)
    head_seed = derive_seed(settings.seed, "reward", name, "head")
    model = new_reward_model(base, head_seed, params.compute, params.is_pretrained, settings.head_per_subset)
    order = derive_seed(settings.seed, "reward", name, "order")
    history = train_reward(model, tokenizer, pairs, settings, params.compute, training_engine(params), order, f"RM_{name}")
    pairs_test = read_records(data / "pairs_test.jsonl", "pairs")
    metrics, margins = evaluate_on_pairs(model, tokenizer, pairs_test, settings.max_length, params.compute, params.has_gold)
    with complete_directory(output) as folder:
        save_model(model, tokenizer, folder)
    return write_training(results, history, metrics, margins), output
