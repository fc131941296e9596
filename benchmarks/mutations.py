"""Small things gone wrong, drawn by a seed: in JSON values, in the bytes of a file, in a model's folder.

Each mutation says what it did, so that whoever reads the result can tell whether it had to be refused.
"""

import copy
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 2**63, -(2**63), 10**30, 0.5, -0.5, 1e-300, 1e300, "", " ", "x", "1", "true", "\u2028", "你好", "null",
    [], {}, [1], ["x"], [[]], {"x": 1}, [None], {"": {}},
)  # fmt: skip
"""What may stand in the place of a value; each can be written as JSON."""
RAW_VALUES = (
    "NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, '"\\ud83d"', '"\\udc00x"', "[" * 100 + "]" * 100, "[" * 200_000 + "]" * 200_000,
    '{"a": 1, "a": 2}', "01", "'x'", "", "{", "0x10", '"\t"', "1_000",
)  # fmt: skip
"""What only a text can say: JSON that Python takes, though it cannot be written again, or what is no JSON."""
MARK = "@raw@"
"""Holds the place of a raw value in a text."""


@dataclass(frozen=True)
class Mutation:
    """What was done to a JSON value."""

    what: str
    path: tuple[Any, ...]
    """Keys and places that lead to what was changed."""
    old: Any
    new: Any
    """`MARK` for a raw value, None if it was taken away."""
    text: str
    """The changed value as JSON, or what should be."""


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all values inside one."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*path, key)
        yield from places(each, (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    """What stands at a path."""
    for key in path:
        value = value[key]
    return value


def mutated(value: Any, rng: random.Random) -> Mutation:
    """A copy of a JSON value, with one thing in it gone wrong."""
    changed = copy.deepcopy(value)
    path = rng.choice(list(places(changed)))
    holder, key = at(changed, path[:-1]), path[-1]
    old = copy.deepcopy(holder[key])
    what = rng.choices(("removed", "replaced", "raw", "key twice", "key added", "list changed"), (15, 50, 20, 5, 5, 5))[0]
    if what == "key twice" and isinstance(holder, dict):
        marked = json.dumps({**holder, MARK: 0})
        twice = marked.replace(f'"{MARK}": 0', f"{json.dumps(key)}: {json.dumps(rng.choice(ODD_VALUES))}")
        return Mutation(what, path, old, MARK, json.dumps(_with(changed, path[:-1], MARK)).replace(json.dumps(MARK), twice))
    if what == "key added" and isinstance(holder, dict):
        path, old = (*path[:-1], rng.choice(("zzz", "é", " "))), None
        holder[path[-1]] = rng.choice(ODD_VALUES)
        return Mutation(what, path, old, holder[path[-1]], json.dumps(changed))
    if what == "list changed" and isinstance(holder, list):
        holder.insert(rng.randrange(len(holder) + 1), rng.choice([*ODD_VALUES, *holder]))
        return Mutation(what, path[:-1], at(value, path[:-1]), holder, json.dumps(changed))
    if what == "removed":
        del holder[key]
        return Mutation(what, path, old, None, json.dumps(changed))
    if what == "raw":
        holder[key] = MARK
        return Mutation(what, path, old, MARK, json.dumps(changed).replace(json.dumps(MARK), rng.choice(RAW_VALUES)))
    holder[key] = copy.deepcopy(rng.choice([odd for odd in ODD_VALUES if odd != old or type(odd) is not type(old)]))
    return Mutation("replaced", path, old, holder[key], json.dumps(changed))


def _with(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    at(value, path[:-1])[path[-1]] = new
    return value


def broken_bytes(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """The bytes of a file cut, emptied, doubled, or with some of them changed, and which of these."""
    what = rng.choice(("cut", "emptied", "byte changed", "bytes inserted", "head lost", "not UTF-8", "zeros", "another format"))
    place = rng.randrange(len(data))
    return what, {
        "cut": data[:place],
        "emptied": b"",
        "byte changed": data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :],
        "bytes inserted": data[:place] + rng.randbytes(3) + data[place:],
        "head lost": data[1 + place // 100 :],
        "not UTF-8": data[:place] + b"\xff\xfe" + data[place:],
        "zeros": bytes(len(data)),
        "another format": b"<html>not found</html>",
    }[what]


WEIGHTS = "model.safetensors"
WEIGHT_CHANGES = (
    "tensor lost", "tensor renamed", "tensor added", "whole numbers", "another shape", "transposed", "layer lost", "half precision",
    "not finite", "bytes", "file lost",
)  # fmt: skip
HARMLESS_WEIGHTS = ("half precision",)
"""A floating type is what `compute.dtype` is there for."""


def break_weights(folder: Path, rng: random.Random) -> str:
    """Does something to the weights of a model's folder; returns what."""
    file, what = folder / WEIGHTS, rng.choice(WEIGHT_CHANGES)
    if what == "file lost":
        file.unlink()
        return what
    if what == "bytes":
        how, data = broken_bytes(file.read_bytes(), rng)
        file.write_bytes(data)
        return f"bytes {how}"
    tensors = load_file(file)
    name = rng.choice(sorted(tensors))
    tensor = tensors[name]
    if what == "tensor lost":
        del tensors[name]
    elif what == "tensor renamed":
        tensors[name.replace("weight", "wight")] = tensors.pop(name)
    elif what == "tensor added":
        tensors[name.replace("weight", "other")] = tensor.clone()
    elif what == "whole numbers":
        tensors[name] = tensor.to(rng.choice((torch.int8, torch.int64, torch.uint8, torch.bool)))
    elif what == "another shape":
        tensors[name] = rng.choice((tensor[:-1], tensor[None], tensor.flatten()[:1])).contiguous().clone()
    elif what == "transposed":
        name = next(key for key in sorted(tensors) if tensors[key].ndim == 2 and len(set(tensors[key].shape)) == 2)
        tensors[name] = tensors[name].T.contiguous().clone()
    elif what == "layer lost":
        tensors = {key: value for key, value in tensors.items() if ".layers.0." not in key}
    elif what == "half precision":
        tensors[name] = tensor.half()
    elif what == "not finite":
        tensor.flatten()[rng.randrange(tensor.numel())] = rng.choice((float("nan"), float("inf")))
    save_file(tensors, file, metadata={"format": "pt"})
    return what


def break_file(file: Path, rng: random.Random) -> Mutation:
    """Does something to a file of JSON or, with a chance of a third, to its bytes."""
    if file.suffix == ".json" and rng.random() < 0.7:
        mutation = mutated(json.loads(file.read_bytes()), rng)
        file.write_text(mutation.text, encoding="utf-8")
        return mutation
    how, data = broken_bytes(file.read_bytes(), rng)
    file.write_bytes(data)
    return Mutation(f"bytes {how}", (), None, None, "")
