"""Scores the policy's samples on the LM half with a reward model, and says how well that model judges this policy."""

from pathlib import Path

from apo_bench.config.params import PARAMS, Params, load_params
from apo_bench.core.files import complete_directory, write_json
from apo_bench.core.layout import DATA, MODELS, RESULTS, SAMPLES, Arm, records
from apo_bench.core.seeds import use_threads
from apo_bench.core.stage import Files, Sizes, Stage, Step, Work
from apo_bench.data.records import SCORED, SCORED_GOLDEN, read_records, write_records
from apo_bench.evaluation.samples import score_samples
from apo_bench.models.reward_model import load_reward_model
from apo_bench.models.tokenizer import load_tokenizer

STAGE = Stage(runs="training", counts=("num_reward_calls", "num_tokens_read"), step=Step.SCORES)


def files(reward_model: str, seed: int, round: str, method: str = "", own: bool = False) -> Files:
    """The scores of a round's samples: of an arm or, in round 1, for all methods; `own`: by a reward model from elsewhere."""
    arm = Arm(method, reward_model, seed)
    model = arm.reward(MODELS, round, own=[reward_model] if own else [])
    return Files(
        {"golden": records(DATA, "golden_lm"), "model": model, "samples": arm.samples(SAMPLES, round, "lm")},
        {"results": arm.score(RESULTS, round)},
    )


def work(params: Params, sizes: Sizes) -> Work:
    """The samples, and the golden responses that they are measured by."""
    train = params.sampling.train
    return Work(read_reward=sizes.rows("golden_lm", 1, train.num_samples, train.max_new_tokens))


def main(model: Path, golden: Path, samples: Path, results: Path) -> tuple[str, Path]:
    """Scores the samples and the golden responses; writes both, and what they say of the reward model."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    scored, scored_golden, metrics = score_samples(
        load_reward_model(model, params.compute),
        load_tokenizer(model),
        read_records(samples, "samples"),
        read_records(golden, "responses"),
        params.sft.max_length,
        params.compute,
        params.has_gold,
    )
    with complete_directory(results) as folder:
        write_records(folder / SCORED, scored)
        write_records(folder / SCORED_GOLDEN, scored_golden)
        write_json(folder / "metrics.json", metrics)
    return f"{len(scored)} prompts scored, golden above sample {metrics['golden_accuracy']:.1%}", results
