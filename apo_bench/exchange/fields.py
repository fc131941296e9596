"""The parts of the authors' items and of our records that both directions read, each checked.

What of an item has no place in our columns is kept in the record under a name of its own, so that it is there when the record is exported
again: `query_id` unless it is text, `query_end` for white space after the query, `scores` of a pair unless they are 1.0 and 0.0, `target`
unless it is the first of the best responses, `type`, and every key that the format does not know.
"""

import math
import re
from collections.abc import Iterable
from typing import Any

from apo_bench.core.errors import DataError
from apo_bench.data.records import ASSISTANT, HUMAN
from apo_bench.exchange.files import Item

SEPARATOR = "<sep>"
PAIR_SCORES = [1.0, 0.0]
SAMPLE_KEY = re.compile(r"sample_(0|[1-9][0-9]*)")


def field(item: Item, key: str, expected: type) -> Any:
    """The value of a key that must be there, of the type `expected`."""
    if key not in item.value:
        raise DataError(f"{item.where}: no key {key}; found {', '.join(item.value) or 'no keys'}")
    if not isinstance(item.value[key], expected):
        raise DataError(f"{item.where}: {key} is {type(item.value[key]).__name__}, expected {expected.__name__}")
    return item.value[key]


def list_of(item: Item, key: str, expected: type, length: int | None = None) -> list[Any]:
    """A list that must be there, of `length` values of the type `expected`, of at least one if `length` is None."""
    values = field(item, key, list)
    for value in values:
        if not isinstance(value, expected):
            raise DataError(f"{item.where}: {key} has a {type(value).__name__}, expected {expected.__name__} only")
    if len(values) != length if length is not None else not values:
        raise DataError(f"{item.where}: {key} has {len(values)} values, expected {length or 'at least one'}")
    return values


def numbers(item: Item, key: str, length: int) -> list[float]:
    """A list of `length` numbers."""
    values = field(item, key, list)
    if len(values) != length:
        raise DataError(f"{item.where}: {key} has {len(values)} values, expected {length}, one a response")
    return [number(item, key, value) for value in values]


def number(item: Item, key: str, value: Any) -> float:
    """`value`, checked to be a number that a 64-bit float can hold."""
    try:
        if not isinstance(value, bool) and math.isfinite(value):
            return value
    except (TypeError, OverflowError):
        pass
    raise DataError(f"{item.where}: {key} has {value!r}, expected a finite number")


def query_id(item: Item) -> tuple[str, dict[str, Any]]:
    """Our id for their `query_id`, and what is kept of it: they use text and numbers, and compare them as text."""
    value = field(item, "query_id", object)
    if type(value) not in (str, int):
        raise DataError(f"{item.where}: query_id is {type(value).__name__}, expected text or a whole number")
    return str(value), {} if isinstance(value, str) else {"query_id": value}


def check_unique(place_by_id: dict[str, str], identity: str, where: str) -> None:
    """Notes where an id stands that may stand only once, as their code keeps the last of several."""
    if identity in place_by_id:
        raise DataError(f"{where}: query_id {identity} stands at {place_by_id[identity]} too, expected once; keep one of them")
    place_by_id[identity] = where


def split_query(item: Item, query: str) -> tuple[str, dict[str, Any]]:
    """The dialogue of a query, and what is kept of it: the white space that their prompts may have after "Assistant:"."""
    dialogue = query.rstrip()
    if not dialogue.startswith(HUMAN) or not dialogue.endswith(ASSISTANT):
        shown = query if len(query) <= 60 else f"{query[:30]} ... {query[-30:]}"
        raise DataError(f"{item.where}: the query must begin with {HUMAN!r} and end with {ASSISTANT!r}; found {shown!r}")
    end = query[len(dialogue) :]
    return dialogue, {"query_end": end} if end else {}


def join_query(item: Item) -> str:
    """The query of a record: the inverse of `split_query`."""
    end = item.value.get("query_end", "")
    if not isinstance(end, str) or end.strip():
        raise DataError(f"{item.where}: query_end is {end!r}, expected white space that stood after the query")
    return item.value["dialogue"] + end


def check_type(item: Item) -> bool:
    """Whether a pair is a golden response against a sample; for such a pair their reward model divides the loss by the samples a prompt."""
    if item.value.get("type", "apo") != "apo":
        raise DataError(f"{item.where}: type is {item.value['type']!r}, expected apo, or no type for a human pair")
    return "type" in item.value


def best_response(item: Item, responses: list[str], rewards: list[float]) -> str:
    """The response they fine-tune on: the first of those with the highest score; a blank one only if all are blank.

    A `target` that the item has itself may be any response with the highest score.

    Raises:
        DataError: `target` is not a response with the highest score.
    """
    ranks = [(bool(response.strip()), reward) for response, reward in zip(responses, rewards, strict=True)]
    best = ranks.index(max(ranks))
    target = item.value.get("target", responses[best])
    if not any(target == response and reward in (max(rewards), rewards[best]) for response, reward in zip(responses, rewards, strict=True)):
        raise DataError(f"{item.where}: target is not a response with the highest score, which is {max(rewards)}; correct one of them")
    return target


def other_keys(item: Item, known: Iterable[str], taken: Iterable[str]) -> dict[str, Any]:
    """The keys of an item beyond those `known`, which are kept.

    Raises:
        DataError: the output has a key of that name already, which is among `taken`.
    """
    others = {key: value for key, value in item.value.items() if key not in set(known)}
    clash = [key for key in others if key in set(taken)]
    if clash:
        raise DataError(f"{item.where}: the key {clash[0]} has another meaning in the output; rename it")
    return others
