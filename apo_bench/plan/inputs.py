"""The records and the tokenizer that a profile will run with: those of a run that began, else made in memory."""

from transformers import PreTrainedTokenizerFast

from apo_bench.config.params import Params
from apo_bench.config.sections import PretrainedModel
from apo_bench.core.layout import DATA
from apo_bench.data.records import COLUMNS, parse_dialogue, read_records
from apo_bench.models.pretrained import load_pretrained_tokenizer
from apo_bench.models.tokenizer import train_tokenizer
from apo_bench.plan import Records

KINDS = {"golden": "responses", "demonstrations": "responses", "pretraining": "responses"}


def read_or_prepare(params: Params) -> Records:
    """The records of out/data if they are there, else those that `prepare` would make.

    Golden responses that cost requests are stood in for: a plan costs none.

    Raises:
        ApoBenchError: what is there is broken, or cannot be made; see `Data.prepare`.
    """
    if DATA.is_dir():
        return {file.stem: read_records(file, _kind(file.stem)) for file in sorted(DATA.glob("*.jsonl"))}
    return params.prepare.without_requests().prepare()[0]


def read_or_train_tokenizer(params: Params, records: Records) -> PreTrainedTokenizerFast:
    """The tokenizer of the pretrained model, checked, or the one that the base model will get.

    Raises:
        MissingInputError: the model is not there.
        ModelError: its tokenizer is not fit to train with.
    """
    if isinstance(params.base_model, PretrainedModel):
        return load_pretrained_tokenizer(params.base_model)
    rows = records["pretraining"]
    texts = [message["content"] for row in rows for message in parse_dialogue(row["dialogue"])] + [row["response"] for row in rows]
    return train_tokenizer(texts, params.base_model.vocab_size)


def _kind(name: str) -> str:
    first = name.split("_")[0]
    return KINDS.get(first, first if first in COLUMNS else "prompts")
