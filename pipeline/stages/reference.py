"""Trains a reference policy from SFT: `golden`, by SFT on the golden responses, or `human`, by DPO on the RM half's human pairs."""

from pathlib import Path

from apo_bench.config.params import PARAMS, Params, load_params
from apo_bench.config.sections import HumanPreferenceTraining
from apo_bench.core.files import complete_directory
from apo_bench.core.layout import DATA, GOLDEN, HUMAN, LABELS, MODELS, RESULTS, Reference, records, replicate, sft
from apo_bench.core.results import final_numbers, write_training
from apo_bench.core.seeds import derive_seed, use_threads
from apo_bench.core.stage import Files, Sizes, Stage, Work
from apo_bench.data.records import read_records
from apo_bench.engines.training import training_engine
from apo_bench.methods.dpo import METHOD as DPO
from apo_bench.models.card import Card
from apo_bench.models.language_model import load_language_model, save_model
from apo_bench.models.tokenizer import load_tokenizer
from apo_bench.training.policies import align, as_scored, fine_tune

MADE = {
    GOLDEN: "SFT, fine-tuned on {} golden responses: what APO's reward models learn from, without a reward model.",
    HUMAN: "SFT, trained by DPO on {} human pairs, without a reward model.",
}
"""How a reference is made, for `format`."""

STAGE = Stage(runs="training", counts=("num_tokens_trained",))


def files(name: str, seed: int) -> Files:
    """A reference of a replicate, from SFT, golden responses and human labels."""
    reference = Reference(name, seed)
    return Files(
        {"golden": records(DATA, "golden_rm"), "labels": replicate(LABELS, seed), "policy": sft(MODELS, seed)},
        {"output": reference.trained(MODELS), "results": reference.training(RESULTS)},
    )


def work(params: Params, sizes: Sizes, name: str) -> Work:
    """The human pairs, which the reference model reads once, or the golden responses."""
    if name == HUMAN:
        tokens = sizes.rows("pairs_rm", own=2)
        return Work(train_policy=tokens * params.references.human.epochs, read_policy=tokens)
    return Work(train_policy=sizes.rows("golden_rm", own=1) * params.references.golden.epochs)


def main(name: str, policy: Path, golden: Path, labels: Path, seed: int, output: Path, results: Path) -> tuple[str, Path]:
    """Trains the reference NAME; leaves it and its curves."""
    params: Params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    model, tokenizer = load_language_model(policy, params.compute, for_training=True), load_tokenizer(policy)
    settings = getattr(params.references, name)
    engine, draw = training_engine(params), derive_seed(seed, "reference", name)
    if isinstance(settings, HumanPreferenceTraining):
        pairs = as_scored(read_records(records(labels, "pairs_rm"), "pairs"))
        shared = settings.model_dump(exclude={"learning_rate"})
        method = DPO(DPO.Hyperparameters(learning_rates=[settings.learning_rate], **shared))
        history, _ = align(model, tokenizer, pairs, method, params.compute, engine, 1, draw, "DPO on human pairs")
        num_examples = len(pairs)
    else:
        responses = read_records(golden, "responses")
        history = fine_tune(model, tokenizer, responses, settings, params.compute, engine, draw, "SFT on golden responses")
        num_examples = len(responses)
    made, numbers = MADE[name].format(num_examples), final_numbers(history)
    card = Card(f"Reference {name}, seed {seed}", "policy", made, params.prepare.source, settings.model_dump(), numbers, policy)
    with complete_directory(output) as folder:
        save_model(model, tokenizer, folder, card)
    return write_training(results, history, {"num_examples": num_examples}), output
