"""Our records as the files that the authors' code reads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from apo_bench.core.errors import DataError
from apo_bench.data.records import COLUMNS
from apo_bench.exchange.fields import (
    PAIR_SCORES,
    SAMPLE_KEY,
    SEPARATOR,
    best_response,
    check_type,
    check_unique,
    join_query,
    list_of,
    numbers,
    other_keys,
    query_id,
)
from apo_bench.exchange.files import THEIR_SUFFIXES, Item, Tally, check_suffix, read_our_records, write_items

Values = list[dict[str, Any]]


def export_records(kind: str, source: Path, output: Path, plain: bool = False) -> str:
    """Writes the records of `source` to `output` in the authors' format; returns a line that says what was done.

    Args:
        kind: one of `EXPORTS`.
        source: our records, JSONL.
        output: their file, a JSON list if its name ends in .json, JSONL if in .jsonl.
        plain: leave out `subset` and `finished`, which their code has no use for but an import needs.

    Raises:
        MissingInputError: there is no such file.
        DataError: a record is broken or cannot be said in their format; file and line are named.
        OutputError: the output cannot be written.
    """
    check_suffix(output, THEIR_SUFFIXES)
    columns, convert = EXPORTS[kind]
    records = read_our_records(source, columns)
    tally = Tally()
    if kind != "pairs":  # several pairs may share a query
        place_by_id: dict[str, str] = {}
        for record in records:
            check_unique(place_by_id, record.value["id"], record.where)
    items = [item for record in records for item in convert(record, tally)]
    if plain and kind in PLAIN_KEYS:
        items = [_without(item, PLAIN_KEYS[kind], tally) for item in items]
    write_items(output, items)
    return tally.line(f"export {kind}", f"{len(records)} records of {source}", f"{len(items)} items to {output}")


def _pair_items(record: Item, tally: Tally) -> Values:
    row = record.value
    query = join_query(record)
    if SEPARATOR in query:
        raise DataError(f"{record.where}: the dialogue has {SEPARATOR}, which ends the query in their format; drop or reword the record")
    texts = [query + SEPARATOR + row["chosen"], query + SEPARATOR + row["rejected"]]
    tally.notes[f"responses with {SEPARATOR}, at which their code stops"] += sum(text.count(SEPARATOR) > 1 for text in texts)
    scores = numbers(record, "scores", 2) if "scores" in row else PAIR_SCORES
    if scores[0] == scores[1]:
        raise DataError(f"{record.where}: scores are both {scores[0]}, expected one of them higher")
    check_type(record)
    kept = {"query_id", "query_end", "scores"}
    others = other_keys(record, {*COLUMNS["pairs"], *kept}, {"text"})
    return [
        {
            **_their_id(record, "query_id" in row and row["query_id"] is None),
            "text": texts if scores[0] > scores[1] else texts[::-1],
            "scores": scores,
            "subset": row["subset"],
            **others,
        }
    ]


def _sample_items(record: Item, tally: Tally) -> Values:
    others = other_keys(record, {*COLUMNS["samples"], "query_id", "query_end"}, {"query"})
    return [{**_samples(record), "subset": record.value["subset"], "finished": record.value["finished"], **others}]


def _golden_items(record: Item, tally: Tally) -> Values:
    """The subset and the dialogue stay behind: an import finds them by the id."""
    others = other_keys(record, {*COLUMNS["responses"], "query_id"}, {"golden"})
    return [{**_their_id(record), "golden": record.value["response"], **others}]


def _score_items(record: Item, tally: Tally) -> Values:
    """An item a sample, as their reward model writes them."""
    scores = _scores(record, _samples(record))
    tally.notes["query ids with a colon, at which their code stops"] += ":" in record.value["id"]
    return [{f"{record.value['id']}:{key}": score} for key, score in scores.items()]


def _rejection_sampled_items(record: Item, tally: Tally) -> Values:
    samples = _samples(record)
    scores = _scores(record, samples)
    others = other_keys(record, {*COLUMNS["scores"], "query_id", "query_end", "target"}, {"query", "scores"})
    target = best_response(record, record.value["responses"], record.value["rewards"])
    extra = {"subset": record.value["subset"], "finished": record.value["finished"]}
    return [{**samples, "target": target, "scores": scores, **extra, **others}]


EXPORTS: dict[str, tuple[str, Callable[[Item, Tally], Values]]] = {
    "pairs": ("pairs", _pair_items),
    "samples": ("samples", _sample_items),
    "golden": ("responses", _golden_items),
    "scores": ("scores", _score_items),
    "rejection-sampled": ("scores", _rejection_sampled_items),
}
"""The kinds of their files: which of our records become one, and how a record becomes items."""

PLAIN_KEYS = {"pairs": ("subset",), "samples": ("subset", "finished"), "rejection-sampled": ("subset", "finished")}
"""The keys that their code has no use for."""


def _samples(record: Item) -> dict[str, Any]:
    """What sample items and rejection-sampled items share."""
    responses = list_of(record, "responses", str)
    list_of(record, "finished", bool, len(responses))
    clash = [key for key in record.value if SAMPLE_KEY.fullmatch(key)]
    if clash:
        raise DataError(f"{record.where}: the key {clash[0]} has another meaning in the output; rename it")
    return {**_their_id(record), "query": join_query(record), **{f"sample_{index}": text for index, text in enumerate(responses)}}


def _scores(record: Item, samples: dict[str, Any]) -> dict[str, float]:
    keys = [key for key in samples if SAMPLE_KEY.fullmatch(key)]
    return dict(zip(keys, numbers(record, "rewards", len(keys)), strict=True))


def _their_id(record: Item, is_absent: bool = False) -> dict[str, Any]:
    """`query_id` as it was in their file, or our id."""
    if is_absent:
        return {}
    row = record.value
    if "query_id" in row and query_id(record)[0] != row["id"]:
        raise DataError(f"{record.where}: query_id is {row['query_id']!r} and id {row['id']!r}, expected the same; drop query_id")
    return {"query_id": row.get("query_id", row["id"])}


def _without(item: dict[str, Any], keys: tuple[str, ...], tally: Tally) -> dict[str, Any]:
    tally.notes["subset left out"] += 1
    if "finished" in keys:
        tally.notes["unfinished samples, which is left out too"] += item["finished"].count(False)
    return {key: value for key, value in item.items() if key not in keys}
