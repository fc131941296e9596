"""Folders of a tiny language model and of a tiny reward model, broken and read as `base_model` and the stages behind it read them."""

import json
import random
from pathlib import Path
from typing import Any

import torch

from apo_bench.config.params import Params, load_params
from apo_bench.config.sections import PretrainedModel
from apo_bench.data.corpus import load_corpus
from apo_bench.data.records import format_dialogue
from apo_bench.engines.admission import admit
from apo_bench.models.batching import TokenSequence, pad
from apo_bench.models.language_model import load_language_model, new_llama, save_model
from apo_bench.models.pretrained import load_pretrained
from apo_bench.models.reward_model import load_reward_model, new_reward_model, rewards
from apo_bench.models.tokenizer import encode_prompts, load_tokenizer, train_tokenizer
from benchmarks.fuzz import Trial, Tried, copied, tried
from benchmarks.mutations import HARMLESS_WEIGHTS, WEIGHTS, Mutation, break_file, break_weights

ROOT = Path(__file__).parents[1]
IDS = [[5, 9, 17, 33, 2, 40, 7, 11]]
FILES = (WEIGHTS, "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
DIALOGUES = [format_dialogue("Are you there? Boil the water."), format_dialogue("No <b>idea</b>, {{ please }}.")]


def small(params: Params) -> Params:
    """With short lengths, so that the check of a model takes a moment."""
    sampling = {part: getattr(params.sampling, part).model_copy(update={"max_new_tokens": 8}) for part in ("train", "test")}
    return params.model_copy(
        update={
            "compute": params.compute.model_copy(update={"max_prompt_length": 24}),
            "sft": params.sft.model_copy(update={"max_length": 40}),
            "sampling": params.sampling.model_copy(update=sampling),
        }
    )


def make_folders(folder: Path, params: Params) -> tuple[Path, Path]:
    """A language model with its tokenizer, and a reward model made of it."""
    tokenizer = train_tokenizer([step for topic in load_corpus().topics[:4] for step in topic.steps], vocab_size=300)
    sizes = {"max_length": 64, "hidden_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 24}
    model = new_llama(params.base_model.model_copy(update=sizes), tokenizer, 0).eval()
    save_model(model, tokenizer, folder / "language")
    save_model(new_reward_model(folder / "language", 0, params.compute, False), tokenizer, folder / "reward")
    return folder / "language", folder / "reward"


def model_folders(folder: Path) -> Trial:
    """Breaks one file of one of the two folders."""
    torch.set_num_threads(1)
    params = small(load_params(ROOT / "params.yaml"))
    whole = make_folders(folder, params)
    expected = [_results(one, params) for one in whole]

    def trial(rng: random.Random) -> Tried:
        number = rng.randrange(2)
        broken = copied(whole[number], folder / "broken")
        name = rng.choice([file for file in FILES if (broken / file).is_file()])
        if name == WEIGHTS:
            what = break_weights(broken, rng)
            allowed = what in HARMLESS_WEIGHTS or what == "bytes byte changed" or what == "bytes bytes inserted"
        else:
            mutation = break_file(broken / name, rng)
            what, allowed = f"{mutation.what} {mutation.path}: {mutation.old!r} -> {mutation.new!r}"[:200], is_setting(mutation)

        def read() -> str:
            found = _results(broken, params)
            return "" if allowed or _same(found, expected[number]) else "other numbers, without a word"

        return tried(f"{name}: {what}", read)

    return trial


def is_setting(mutation: Mutation) -> bool:
    """Whether a change is one that a user may make: a value of the same type in the place of another, which is then taken as it stands; a
    key that is left out, and has the format's default; or, of a file that is no JSON, another text."""
    if mutation.what == "removed":
        return isinstance(mutation.path[-1], str) or len(mutation.path) > 2
    if mutation.what == "bytes byte changed":
        return True
    if mutation.what.startswith("bytes"):
        return mutation.what in ("bytes cut", "bytes head lost", "bytes bytes inserted", "bytes another format")
    number = int | float
    same = isinstance(mutation.old, number) and isinstance(mutation.new, number) and not isinstance(mutation.new, bool)
    return same or type(mutation.old) is type(mutation.new) or mutation.what in ("key added", "list changed") or mutation.new is None


def _results(folder: Path, params: Params) -> dict[str, Any]:
    """What stages get of a folder: numbers of the model, tokens of the tokenizer."""
    architecture = json.loads((folder / "config.json").read_text())["architectures"] if _is_whole(folder) else [""]
    if "Sequence" in str(architecture):
        model, tokenizer = load_reward_model(folder, params.compute), load_tokenizer(folder)
        with torch.no_grad():
            values = rewards(model.eval(), pad([TokenSequence(IDS[0], 3)], 0))
    else:
        hub = {"name": "a/b", "revision": "0" * 40}
        source = PretrainedModel(source="pretrained", folder=str(folder), chat_template="own", hub=hub, wheel=None, num_parameters=1)
        entering, tokenizer = load_pretrained(source)
        admit(entering, tokenizer, params, str(folder))
        save_model(entering, tokenizer, folder / "again")
        model, tokenizer = load_language_model(folder / "again", params.compute), load_tokenizer(folder / "again")
        with torch.no_grad():
            values = model.eval()(torch.tensor(IDS)).logits
    return {"values": values, "tokens": encode_prompts(tokenizer, DIALOGUES, 1000), "text": tokenizer.decode(IDS[0])}


def _is_whole(folder: Path) -> bool:
    try:
        return isinstance(json.loads((folder / "config.json").read_bytes()).get("architectures"), list)
    except (ValueError, RecursionError, AttributeError):
        return False


def _same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    return torch.equal(found["values"], expected["values"]) and all(found[key] == expected[key] for key in ("tokens", "text"))
