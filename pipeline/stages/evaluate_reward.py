"""Evaluates a reward model on the human test pairs: accuracy, calibration and, where it is known, gold's order. Trains nothing."""

from pathlib import Path

from apo_bench.config.params import PARAMS, Params, load_params
from apo_bench.core.layout import DATA, FIRST_ROUND, MODELS, RESULTS, Arm, records, reward_evaluations
from apo_bench.core.results import write_reward_evaluation
from apo_bench.core.seeds import use_threads
from apo_bench.core.stage import Files, Sizes, Stage, Work
from apo_bench.data.records import read_records
from apo_bench.evaluation.reward_models import evaluate_on_pairs
from apo_bench.models.reward_model import load_reward_model, longest_scored
from apo_bench.models.tokenizer import load_tokenizer

STAGE = Stage(runs="training")


def files(reward_model: str, seed: int = 0, round: str = FIRST_ROUND, method: str = "", own: bool = False) -> Files:
    """The evaluation of a reward model of a round or of one that is trained once; `own`: of one from elsewhere, the same in all seeds."""
    arm, from_elsewhere = Arm(method, reward_model, seed), [reward_model] if own else []
    return Files(
        {"pairs_test": records(DATA, "pairs_test"), "model": arm.reward(MODELS, round, from_elsewhere)},
        {"results": arm.reward(reward_evaluations(RESULTS), round, from_elsewhere)},
    )


def work(params: Params, sizes: Sizes, reward_model: str, own: bool = False) -> Work:
    """The test pairs, by each member of an ensemble."""
    num_members = 1 if own else params.reward_model(reward_model).num_members
    return Work(read_reward=num_members * sizes.rows("pairs_test", own=2))


def main(model: Path, pairs_test: Path, round: str, results: Path) -> tuple[str, Path]:
    """Evaluates a reward model; between the first round and the last on the first pairs."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    pairs = read_records(pairs_test, "pairs")
    if round != FIRST_ROUND and round != params.run.rounds[-1]:
        pairs = pairs[: params.evaluate.num_earlier_pairs]
    reward_model = load_reward_model(model, params.compute, for_training=True)  # in the precision that it was trained in
    metrics, margins = evaluate_on_pairs(
        reward_model,
        load_tokenizer(model),
        pairs,
        longest_scored(reward_model, params.sft.max_length),
        params.compute,
        params.has_gold,
    )
    return write_reward_evaluation(results, metrics, margins), results
