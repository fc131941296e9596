"""The policy's step of a round: trains the policy on scored samples by a method."""

from dataclasses import asdict
from pathlib import Path

from apo_bench.config.params import PARAMS, Params, load_params
from apo_bench.core.files import complete_directory
from apo_bench.core.layout import MODELS, RESULTS, Arm, round_number
from apo_bench.core.results import final_numbers, write_training
from apo_bench.core.seeds import derive_seed, use_threads
from apo_bench.core.stage import Files, Sizes, Stage, Step, Work
from apo_bench.data.records import SCORED, SCORED_GOLDEN, read_records
from apo_bench.engines.training import training_engine
from apo_bench.methods.base import GOLDEN
from apo_bench.models.card import Card
from apo_bench.models.language_model import load_language_model, sample_as_trained, save_model
from apo_bench.models.tokenizer import load_tokenizer
from apo_bench.training.policies import align, with_golden

STAGE = Stage(runs="training", counts=("num_tokens_trained", "num_tokens_read"), step=Step.POLICY)


def files(method: str, reward_model: str, seed: int, round: str) -> Files:
    """The policy after a round, from the one before it and its scored samples."""
    arm = Arm(method, reward_model, seed)
    return Files(
        {"policy": arm.policy_before(MODELS, round), "scores": arm.score(RESULTS, round)},
        {"output": arm.policy(MODELS, round), "results": arm.training(RESULTS, round)},
    )


def work(params: Params, sizes: Sizes, method: str) -> Work:
    """The samples that the method chooses, in each epoch, and once by the reference."""
    chosen, train = params.method(method), params.sampling.train
    tokens = sizes.rows("prompts_lm", 0, chosen.num_selected(train.num_samples), train.max_new_tokens)
    return Work(train_policy=tokens * chosen.hyperparameters.epochs, read_policy=tokens * chosen.needs_reference)


def main(
    method: str, reward_model: str, seed: int, round: str, policy: Path, scores: Path, output: Path, results: Path
) -> tuple[str, Path]:
    """Trains the policy on its scored samples by METHOD; SEED and ROUND name the random draws, which all arms share."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    chosen, model, tokenizer = params.method(method), load_language_model(policy, params.compute, for_training=True), load_tokenizer(policy)
    scored = read_records(scores / SCORED, "scores")
    if GOLDEN in chosen.origins:
        scored = with_golden(scored, read_records(scores / SCORED_GOLDEN, "golden_scores"))
    sampling = params.sampling.train
    history, counts = align(
        model,
        tokenizer,
        scored,
        chosen,
        params.compute,
        training_engine(params),
        round_number(round),
        derive_seed(seed, "align", round),
        f"{round}: {method}",
    )
    sample_as_trained(model, sampling)
    card = Card(
        f"{method.upper()} with the reward model {reward_model}, seed {seed}, after {round}",
        "policy",
        f"Trained by `{method}` on {counts['num_prompts']} prompts with {sampling.num_samples} samples of the policy before it, "
        f"which the reward model `{reward_model}` scored. `generation_config.json` has the settings that it is sampled with to be trained.",
        params.prepare.source,
        asdict(chosen.hyperparameters),
        {**counts, **final_numbers(history)},
        policy,
    )
    with complete_directory(output) as folder:
        save_model(model, tokenizer, folder, card)
    return write_training(results, history, counts), output
