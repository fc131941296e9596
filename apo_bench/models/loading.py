"""Whether a folder holds a whole model: what is not whole, or belongs to another, is refused in one line that names the file.

The libraries fill in what weights lack with random numbers, leave out what they have too much, cast whatever type, and raise whatever they
like, or take a broken file for a missing one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PreTrainedModel

from apo_bench.core.errors import ApoBenchError, DataError, ModelError, is_out_of_memory
from apo_bench.core.strict_json import parse

POINTER = b"version https://git-lfs"
"""How a file begins that git-lfs left in the place of the real one."""
MAX_MESSAGE = 200
NUM_NAMED = 3
"""Tensors that a message names of those it counts."""
SMALL_FILES = (
    "config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "model.safetensors.index.json",
)  # fmt: skip
"""JSON objects, some of which the libraries pass over if they are broken. tokenizer.json is large, and its own reader is strict."""
TEMPLATE = "chat_template.jinja"
FLOATING = ("F64", "F32", "F16", "BF16")
"""What safetensors calls the types that hold weights as they are; others hold parts of them, or something else."""
PANIC = "PanicException"
"""What Rust raises, of which tokenizers and safetensors are made; no `Exception`."""

WHOLE: dict[str, Any] = {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
"""How `from_pretrained` is to load what `check_whole` looks at: without pickle, and with all faults at once."""


@contextmanager
def loading(folder: Path, what: str) -> Iterator[None]:
    """Turns errors of the block into ModelError.

    Args:
        folder: where the model or tokenizer lies.
        what: what is loaded, in words.

    Raises:
        ModelError: something was raised, or a file is a pointer of git-lfs.
        DataError: one of the small files is not what it should be.
    """
    folder = Path(folder)
    _check_files(folder)
    try:
        yield
    except (ApoBenchError, MemoryError):
        raise
    except BaseException as error:  # transformers, safetensors and tokenizers raise whatever they like, and bare `Exception` among it
        if not isinstance(error, Exception) and type(error).__name__ != PANIC:
            raise
        if is_out_of_memory(error):
            raise
        file, expected = _culprit(folder)
        raise ModelError(f"{file}: {what} cannot be loaded ({_in_a_line(error)}); expected {expected}; get it again") from error


def _check_files(folder: Path) -> None:
    for file in sorted(folder.glob("*")):
        if file.is_file() and file.stat().st_size < 1024 and file.read_bytes().startswith(POINTER):
            raise ModelError(f"{file}: a pointer of git-lfs in the place of the file; get it with `git lfs pull`")
    for file in (folder / name for name in SMALL_FILES):
        if file.is_file() and not isinstance(parse(file.read_bytes(), file, cure="get the file again"), dict):
            raise DataError(f"{file}: found JSON that is no object; get the file again")
    template = folder / TEMPLATE
    try:
        if template.is_file():
            template.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{template}: not UTF-8 ({error.reason} at byte {error.start}); get the file again") from error


def check_whole(
    folder: Path,
    model: PreTrainedModel,
    found: dict[str, Any],
    may_lack: Callable[[str], bool] = lambda key: False,
    may_leave: Callable[[str], bool] = lambda key: False,
) -> None:
    """Whether the weights of a folder are those of the model that was made of it, no more and no less.

    Args:
        folder: where they lie.
        model: what `from_pretrained` made, called with `WHOLE`.
        found: what it said of the loading.
        may_lack: whether a key need not be there, as that of a fresh head. Tied weights need not be there anyway.
        may_leave: whether a key may be left out, as that of the head of a language model of which a reward model is made.

    Raises:
        ModelError: tensors are missing, unexpected, or of another shape or type.
    """
    missing = sorted(key for key in found["missing_keys"] if not may_lack(key))
    unexpected = sorted(key for key in found["unexpected_keys"] if not may_leave(key))
    mismatched = sorted(f"{key} {list(there)}, not {list(needed)}" for key, there, needed in found["mismatched_keys"])
    mistyped = _mistyped(folder, model)
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": mismatched, "of a type that holds no weights": mistyped}
    said = [f"{_counted(keys)} {fault}" for fault, keys in faults.items() if keys]
    if said:
        cure = "get the folder again, or the config.json that belongs to the weights"
        raise ModelError(f"{_weights(folder)}: not the weights of {type(model).__name__} in config.json: {'; '.join(said)}; {cure}")


def check_finite(folder: Path, model: PreTrainedModel) -> None:
    """Whether all weights are numbers; asked where the model is, which on a GPU takes no time.

    Raises:
        ModelError: some are not.
    """
    broken = [name for name, parameter in model.named_parameters() if not bool(parameter.isfinite().all())]
    if broken:
        raise ModelError(f"{_weights(folder)}: NaN or infinity in {_counted(broken)} of its tensors, expected numbers; get them again")


def check_generation(folder: Path, model: PreTrainedModel) -> None:
    """Whether the model's generation settings can be saved with it again.

    Raises:
        ModelError: they contradict each other.
    """
    try:
        if model.generation_config is not None:
            model.generation_config.validate(strict=True)
    except (ValueError, TypeError, AttributeError) as error:
        file = Path(folder) / "generation_config.json"
        raise ModelError(f"{file}: settings that cannot be used ({_in_a_line(error)}); expected consistent ones; correct it") from error


def _mistyped(folder: Path, model: PreTrainedModel) -> list[str]:
    """Tensors of a type that is cast without a word, such as whole numbers, in the place of the model's own."""
    names = {name for name, parameter in model.named_parameters() if parameter.is_floating_point()}
    found = []
    for file in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(file, "pt") as weights:
            types = {key: weights.get_slice(key).get_dtype() for key in weights.keys()}  # noqa: SIM118  (not a dict)
        odd = {key: kind for key, kind in types.items() if kind not in FLOATING}
        found += [f"{key} {kind}" for key, kind in odd.items() if any(_is_same(key, name) for name in names)]
    return found


def _is_same(key: str, name: str) -> bool:
    """Whether a tensor of a file is a parameter of the model; one may have a prefix that the other lacks."""
    return key == name or key.endswith(f".{name}") or name.endswith(f".{key}")


def _counted(keys: list[str]) -> str:
    more = ", ..." if len(keys) > NUM_NAMED else ""
    return f"{len(keys)} ({', '.join(keys[:NUM_NAMED])}{more})"


def _weights(folder: Path) -> Path:
    index = Path(folder) / "model.safetensors.index.json"
    return index if index.is_file() else Path(folder) / "model.safetensors"


def _culprit(folder: Path) -> tuple[Path, str]:
    """The first file of a folder that its own reader does not take, else the folder; and what was expected of it."""
    config, tokenizer = folder / "config.json", folder / "tokenizer.json"
    readers: list[tuple[Path, str, Callable[[], Any]]] = [
        (config, "the configuration of a model that transformers knows", lambda: AutoConfig.from_pretrained(folder)),
        (tokenizer, "a tokenizer of the tokenizers library", lambda: Tokenizer.from_file(str(tokenizer))),
        (folder / "tokenizer_config.json", "settings that transformers knows", lambda: AutoTokenizer.from_pretrained(folder)),
        (folder / "generation_config.json", "generation settings", lambda: GenerationConfig.from_pretrained(folder)),
        *((file, "whole safetensors", lambda file=file: _open(file)) for file in sorted(folder.glob("*.safetensors"))),
    ]
    for file, expected, read in readers:
        if not file.is_file():
            continue
        try:
            read()
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != PANIC:
                raise
            return file, expected
    return folder, "a whole model with its tokenizer, weights in safetensors"


def _open(file: Path) -> None:
    with safe_open(file, "pt"):
        pass


def _in_a_line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:MAX_MESSAGE]
