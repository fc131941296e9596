"""What the benchmarks run on: a chat model from a folder, made ready as the stage `base_model` makes it, and prompts of HH."""

from pathlib import Path

from transformers import PreTrainedTokenizerFast

from apo_bench.config.params import load_params
from apo_bench.models.language_model import save_model
from apo_bench.models.pretrained import load_pretrained
from apo_bench.models.tokenizer import encode_prompts
from apo_bench.sources.hh import clean_raw_pairs, read_raw_pairs

PROFILE = Path(__file__).parents[1] / "profiles" / "small" / "params.yaml"
SUBSET = "helpful-base"


def ready_model(source: Path, folder: Path) -> PreTrainedTokenizerFast:
    """Saves the model of `source` to `folder` with a tokenizer that has a pad token of its own; returns that tokenizer."""
    model, tokenizer = load_pretrained(load_params(PROFILE).base_model.model_copy(update={"folder": str(source)}))
    save_model(model, tokenizer, folder)
    return tokenizer


def hh_prompts(tokenizer: PreTrainedTokenizerFast, folder: Path, num_prompts: int, max_prompt_length: int) -> list[list[int]]:
    """Token ids of the first prompts of HH's test file, no prompt twice."""
    rows, _, _ = clean_raw_pairs((SUBSET, pair) for pair in read_raw_pairs(folder, SUBSET, "test"))
    dialogues = list(dict.fromkeys(row["dialogue"] for row in rows))[:num_prompts]
    return encode_prompts(tokenizer, dialogues, max_prompt_length)
