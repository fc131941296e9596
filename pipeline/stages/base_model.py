"""The model that everything starts from: a small Llama trained from scratch on the pretraining text, or a pretrained model."""

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from apo_bench.config.compute_sections import Compute
from apo_bench.config.params import PARAMS, Params, load_params
from apo_bench.config.sections import PretrainedModel, ScratchModel
from apo_bench.core.files import complete_directory
from apo_bench.core.layout import MODELS, RESULTS, base_model, records
from apo_bench.core.results import write_training
from apo_bench.core.seeds import derive_seed, use_threads
from apo_bench.core.stage import Files, Sizes, Stage, Step, Work
from apo_bench.data.records import parse_dialogue, read_records
from apo_bench.engines.admission import admit
from apo_bench.engines.protocol import Engine
from apo_bench.engines.training import training_engine
from apo_bench.models.card import OWN_LICENSE, Card, base_facts
from apo_bench.models.language_model import new_llama, ready, save_model
from apo_bench.models.pretrained import load_pretrained
from apo_bench.models.tokenizer import train_tokenizer
from apo_bench.training.policies import pretrain

STAGE = Stage(
    runs="training", counts=("num_tokens_trained",), uses_ranks=lambda params: params.base_model.source == "scratch", step=Step.BASE_MODEL
)


def files() -> Files:
    """The base model; what it is made from lies where params.yaml says."""
    return Files({}, {"output": base_model(MODELS), "results": base_model(RESULTS)})


def work(params: Params, sizes: Sizes) -> Work:
    """Pretraining, of a model from scratch."""
    if isinstance(params.base_model, PretrainedModel):
        return Work()
    return Work(train_policy=sizes.count["pretraining"] * sizes.sequence["pretraining"] * params.base_model.epochs)


def main(output: Path, results: Path) -> tuple[str, Path]:
    """Makes the base model of params.yaml and, if it was trained, leaves its curves."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    history: list[dict[str, float]] = []
    if isinstance(params.base_model, PretrainedModel):
        model, tokenizer = load_pretrained(params.base_model)
    else:
        model, tokenizer, history = _train(params.base_model, params.compute, training_engine(params))
    with complete_directory(output) as folder:
        admit(model, tokenizer, params, params.base_model.folder if params.is_pretrained else "base_model")
        save_model(model, tokenizer, folder, _card(params.base_model, params.prepare.source, model.num_parameters()))
    return write_training(results, history, {"num_parameters": model.num_parameters()}), output


def _card(settings: ScratchModel | PretrainedModel, source: str, num_parameters: int) -> Card:
    if isinstance(settings, PretrainedModel):
        made = f"`{settings.hub.name}` at revision {settings.hub.revision}, its tokenizer made safe to train with."
        return Card("Base model", "policy", made, None, facts=base_facts(Path(settings.folder), settings.hub.name))
    made = f"A Llama of {num_parameters} parameters, trained from scratch on the pretraining text."
    return Card("Base model", "policy", made, source, settings.model_dump(exclude={"folder", "source"}), facts=OWN_LICENSE)


def _train(
    settings: ScratchModel, compute: Compute, engine: Engine
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, list[dict[str, float]]]:
    rows = read_records(records(Path(settings.folder), "pretraining"), "responses")
    texts = [message["content"] for row in rows for message in parse_dialogue(row["dialogue"])] + [row["response"] for row in rows]
    tokenizer = train_tokenizer(texts, settings.vocab_size)
    model = ready(new_llama(settings, tokenizer, derive_seed(settings.seed, "base_model", "weights")), compute)
    order = derive_seed(settings.seed, "base_model", "order")
    return model, tokenizer, pretrain(model, tokenizer, rows, settings, compute, engine, order, "base model")
