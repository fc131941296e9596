"""The policy's step of a round: trains the policy on scored samples by a method."""

from pathlib import Path

from apo_bench.core.config import PARAMS, load_params
from apo_bench.core.files import complete_directory
from apo_bench.core.results import write_training
from apo_bench.core.seeds import derive_seed, use_threads
from apo_bench.data.records import SCORED, SCORED_GOLDEN, read_records
from apo_bench.engines.training import training_engine
from apo_bench.methods.base import GOLDEN
from apo_bench.models.language_model import load_language_model, save_model
from apo_bench.models.tokenizer import load_tokenizer
from apo_bench.training.policies import align, with_golden


def main(method: str, policy: Path, scores: Path, seed: int, round: str, output: Path, results: Path) -> tuple[str, Path]:
    """Trains POLICY on the samples in the folder SCORES by METHOD; SEED and ROUND name the random draws, which all arms share."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    chosen, scored = params.method(method), read_records(scores / SCORED, "scores")
    if GOLDEN in chosen.origins:
        scored = with_golden(scored, read_records(scores / SCORED_GOLDEN, "golden_scores"))
    model, tokenizer = load_language_model(policy, params.compute, for_training=True), load_tokenizer(policy)
    history, counts = align(
        model,
        tokenizer,
        scored,
        chosen,
        params.compute,
        training_engine(params),
        int(round.removeprefix("r")),
        derive_seed(seed, "align", round),
        f"{round}: {method}",
    )
    with complete_directory(output) as folder:
        save_model(model, tokenizer, folder)
    return write_training(results, history, counts), output
