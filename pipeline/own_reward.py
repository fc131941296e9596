"""A reward model of one's own, trained elsewhere: checked, made ready to score with its own tokenizer, and tested on the human pairs."""

from pathlib import Path

from apo_bench.config.params import PARAMS, load_params
from apo_bench.core.files import complete_directory
from apo_bench.core.layout import DATA, MODELS, OWN, RESULTS, Files, own_reward_model, records
from apo_bench.core.results import write_training
from apo_bench.core.seeds import use_threads
from apo_bench.data.records import read_records
from apo_bench.engines.admission import admit_reward_model
from apo_bench.evaluation.reward_models import evaluate_on_pairs
from apo_bench.models.card import Card
from apo_bench.models.language_model import save_model
from apo_bench.models.pretrained import load_own_reward_model
from apo_bench.models.reward_model import longest_scored


def files(reward_model: str) -> Files:
    """A reward model for all replicates, tested on the human pairs; params.yaml says where it comes from."""
    reads = {"pairs_test": records(DATA, "pairs_test")}
    return Files(reads, {"output": own_reward_model(MODELS, reward_model), "results": own_reward_model(RESULTS, reward_model)})


def main(reward_model: str, pairs_test: Path, output: Path, results: Path) -> tuple[str, Path]:
    """Takes the reward model of that name in `reward.own` in; leaves it and its metrics on the test pairs."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    settings, compute = params.own_reward_models[reward_model], params.compute
    model, tokenizer = load_own_reward_model(settings, f"reward.{OWN}.{reward_model}", compute, params.base_reward.max_length)
    max_length = longest_scored(model, params.sft.max_length)
    admit_reward_model(model, tokenizer, params, settings.folder)
    pairs = read_records(pairs_test, "pairs")
    metrics, margins = evaluate_on_pairs(model, tokenizer, pairs, max_length, compute, params.has_gold)
    made = "Trained elsewhere; its tokenizer was made safe to score with, and nothing else changed."
    with complete_directory(output) as folder:
        save_model(
            model,
            tokenizer,
            folder,
            Card(f"Reward model {reward_model}", "reward_model", made, None, numbers=metrics, start=Path(settings.folder)),
        )
    return write_training(results, [], metrics, margins), output
