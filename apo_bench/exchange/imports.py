"""The authors' files as our records."""

import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

from apo_bench.core.errors import DataError
from apo_bench.core.records import Record
from apo_bench.core.schemas import SUBSET
from apo_bench.data.records import COLUMNS, SCHEMAS, prompt_id, write_records
from apo_bench.exchange.fields import (
    PAIR_SCORES,
    SAMPLE_KEY,
    SEPARATOR,
    best_response,
    check_type,
    check_unique,
    field,
    list_of,
    number,
    numbers,
    other_keys,
    query_id,
    split_query,
)
from apo_bench.exchange.files import Item, Tally, check_suffix, read_items, read_our_records

OUR_SUFFIXES = (".jsonl",)


def import_pairs(source: Path, output: Path, subset: str | None = None) -> str:
    """Writes their pairs as records of kind `pairs`; returns a line that says what was done.

    An item of more than two responses becomes a pair of each two with different scores. An item without `query_id` gets the hash of its
    dialogue, as our own prompts do.

    Args:
        source: their file.
        output: our file, JSONL.
        subset: that of items that have none.

    Raises:
        MissingInputError: there is no such file.
        DataError: an item is broken, or no pair is left; file and line or item number are named.
        OutputError: the output cannot be written.
    """
    return _import(source, output, "pairs", "pairs", lambda item, tally: _pairs(item, subset, tally))


def import_samples(source: Path, output: Path, subset: str | None = None) -> str:
    """Writes their samples as records of kind `samples`; arguments and errors as those of `import_pairs`."""
    place_by_id: dict[str, str] = {}
    return _import(source, output, "samples", "samples", lambda item, tally: [_samples(item, subset, place_by_id, tally)])


def import_rejection_sampled(source: Path, output: Path, subset: str | None = None) -> str:
    """Writes their rejection-sampled items as records of kind `scores`; arguments and errors as those of `import_pairs`."""
    place_by_id: dict[str, str] = {}

    def convert(item: Item, tally: Tally) -> list[Record]:
        return [_rejection_sampled(item, subset, place_by_id, tally)]

    return _import(source, output, "rejection-sampled", "scores", convert)


def import_golden(source: Path, output: Path, prompts: Path) -> str:
    """Writes their golden responses as records of kind `responses`; returns a line that says what was done.

    Args:
        source: their file.
        output: our file, JSONL.
        prompts: our records with the dialogues and the subsets, of kind `prompts` or with its columns, as pairs have them.

    Raises:
        MissingInputError: there is no such file.
        DataError: an item is broken, repeated or to an unknown prompt; file and line or item number are named.
        OutputError: the output cannot be written.
    """
    known: dict[str, Item] = {}
    for record in read_our_records(prompts, "prompted"):
        earlier = known.setdefault(record.value["id"], record)
        if any(earlier.value[column] != record.value[column] for column in COLUMNS["prompts"]):
            raise DataError(f"{record.where}: the id {record.value['id']} stands at {earlier.where} for another prompt; give each its own")
    place_by_id: dict[str, str] = {}

    def convert(item: Item, tally: Tally) -> list[Record]:
        identity, _ = query_id(item)
        check_unique(place_by_id, identity, item.where)
        if identity not in known:
            raise DataError(
                f"{item.where}: query_id {identity} is not among the {len(known)} prompts of {prompts}; drop it or add its prompt"
            )
        return [_golden(item, known[identity].value)]

    def remark(tally: Tally) -> None:
        tally.notes[f"prompts of {prompts} without a golden response"] = len(known) - len(place_by_id)

    return _import(source, output, "golden", "responses", convert, remark)


def import_scores(source: Path, output: Path, samples: Path) -> str:
    """Writes their reward model's scores as records of kind `scores`; returns a line that says what was done.

    Args:
        source: their file.
        output: our file, JSONL, in the order of `samples`.
        samples: our records of the scored samples.

    Raises:
        MissingInputError: there is no such file.
        DataError: an item is broken, or a sample has no score or two; file and line or item number are named.
        OutputError: the output cannot be written.
    """
    check_suffix(output, OUR_SUFFIXES)
    records = read_our_records(samples, "samples")
    places = _sample_places(records)
    scores = _scores_by_sample(read_items(source), places, samples)
    missing = [key for key in places if key not in scores]
    if missing:
        found = f"no score of {missing[0]} ({places[missing[0]]}) and {len(missing) - 1} more"
        raise DataError(f"{source}: {found}, expected one a sample; score them or drop their records")
    rows = [
        {**row, "rewards": [scores[f"{row['id']}:sample_{index}"] for index in range(len(row["responses"]))]}
        for row in (record.value for record in records)
    ]
    write_records(output, rows)
    read = f"{len(scores)} scores of {source} and {len(records)} records of {samples}"
    return Tally().line("import scores", read, f"{len(rows)} records to {output}")


def _import(
    source: Path,
    output: Path,
    title: str,
    kind: str,
    convert: Callable[[Item, Tally], list[Record]],
    remark: Callable[[Tally], None] = lambda tally: None,
) -> str:
    """Converts item by item, writes the records and says what was done; `remark` adds to the tally at the end."""
    check_suffix(output, OUR_SUFFIXES)
    items = read_items(source)
    tally = Tally()
    converted = [(item.where, row) for item in items for row in convert(item, tally)]
    remark(tally)
    if not converted:
        raise DataError(f"{source}: no record is left of {len(items)} items: each has one response, or equal scores")
    rows = [row for _, row in converted]
    SCHEMAS[kind].check(rows, lambda number: converted[number - 1][0])
    write_records(output, rows)
    return tally.line(f"import {title}", f"{len(items)} items of {source}", f"{len(rows)} records to {output}")


def _pairs(item: Item, subset: str | None, tally: Tally) -> list[Record]:
    texts = list_of(item, "text", str)
    scores = numbers(item, "scores", len(texts))
    heads, responses = zip(*(_split_text(item, text) for text in texts), strict=True)
    if len(set(heads)) != 1:
        raise DataError(f"{item.where}: the texts have {len(set(heads))} different queries before {SEPARATOR}, expected one")
    dialogue, kept_end = split_query(item, heads[0])
    if "query_id" in item.value:
        identity, kept_id = query_id(item)
    else:
        identity, kept_id = prompt_id(dialogue), {"query_id": None}
        tally.notes["without query_id, which get the hash of the dialogue"] += 1
    if check_type(item):
        tally.notes["of type apo, a golden response against a sample and no human label"] += 1
    prompt = {"id": identity, "subset": _subset(item, subset, tally), "dialogue": dialogue}
    taken = {*COLUMNS["pairs"], "query_end"}
    others = other_keys(item, {"text", "scores", "query_id", "subset"}, taken)
    tally.dropped["items of one response"] += len(texts) == 1
    rows = []
    for first, second in combinations(range(len(texts)), 2):
        if scores[first] == scores[second]:
            tally.dropped["pairs of equal score"] += 1
            continue
        chosen, rejected = (first, second) if scores[first] > scores[second] else (second, first)
        pair_scores = [scores[first], scores[second]]
        kept_scores = {} if pair_scores == PAIR_SCORES else {"scores": pair_scores}
        pair = {"chosen": responses[chosen], "rejected": responses[rejected]}
        rows.append({**prompt, **pair, **kept_id, **kept_end, **kept_scores, **others})
    return rows


def _split_text(item: Item, text: str) -> tuple[str, str]:
    """Query and response, split at the first separator: a response may have it too, for a model may write it."""
    query, separator, response = text.partition(SEPARATOR)
    if not separator:
        raise DataError(f"{item.where}: a text without {SEPARATOR}, expected it between query and response")
    return query, response


def _golden(item: Item, prompt: Record) -> Record:
    _, kept = query_id(item)
    if "query" in item.value and split_query(item, field(item, "query", str))[0] != prompt["dialogue"]:
        raise DataError(f"{item.where}: query differs from the dialogue of prompt {prompt['id']}; give the prompts of these responses")
    others = other_keys(item, {"query_id", "golden"}, COLUMNS["responses"])
    return {**{column: prompt[column] for column in COLUMNS["prompts"]}, "response": field(item, "golden", str), **kept, **others}


def _samples(item: Item, subset: str | None, place_by_id: dict[str, str], tally: Tally, kind: str = "samples") -> Record:
    """A record of kind `samples`, or one of kind `scores` but for its rewards."""
    identity, kept_id = query_id(item)
    check_unique(place_by_id, identity, item.where)
    dialogue, kept_end = split_query(item, field(item, "query", str))
    keys = _sample_keys(item)
    responses = [field(item, key, str) for key in keys]
    if "finished" in item.value:
        finished = list_of(item, "finished", bool, len(keys))
    else:
        finished = [True] * len(keys)
        tally.notes["samples without finished, taken as finished"] += len(keys)
    prompt = {"id": identity, "subset": _subset(item, subset, tally), "dialogue": dialogue}
    known = {"query_id", "query", *keys, "subset", "finished", *(("target", "scores") if kind == "scores" else ())}
    others = other_keys(item, known, {*COLUMNS[kind], "query_end"})
    return {**prompt, "responses": responses, "finished": finished, **kept_id, **kept_end, **others}


def _rejection_sampled(item: Item, subset: str | None, place_by_id: dict[str, str], tally: Tally) -> Record:
    row = _samples(item, subset, place_by_id, tally, kind="scores")
    keys, scores = _sample_keys(item), field(item, "scores", dict)
    if set(scores) != set(keys):
        found = ", ".join(scores) or "nothing"
        raise DataError(f"{item.where}: scores has {found}, expected a score of each sample, {', '.join(keys)}; score the item again")
    rewards = [number(item, f"scores.{key}", scores[key]) for key in keys]
    field(item, "target", str)
    target = best_response(item, row["responses"], rewards)
    first_best = best_response(Item(item.where, {}), row["responses"], rewards)
    return {**row, **({} if target == first_best else {"target": target}), "rewards": rewards}


def _sample_keys(item: Item) -> list[str]:
    found = [key for key in item.value if SAMPLE_KEY.fullmatch(key)]
    keys = [f"sample_{index}" for index in range(len(found))]
    if not found or set(found) != set(keys):
        raise DataError(f"{item.where}: found the samples {', '.join(found) or '(none)'}, expected sample_0, sample_1 and on without a gap")
    return keys


def _subset(item: Item, subset: str | None, tally: Tally) -> str:
    has_own = "subset" in item.value
    found = field(item, "subset", str) if has_own else subset
    if found is None:
        raise DataError(f"{item.where}: no key subset; give --subset for all items without it")
    if not re.match(SUBSET, found):
        raise DataError(f"{item.where}: subset is {found!r}, expected a name of small letters, digits and _")
    if has_own:
        tally.notes["with another subset of their own, which they keep"] += subset not in (None, found)
    else:
        tally.notes[f"without subset, taken as {subset}"] += 1
    return found


def _scores_by_sample(items: list[Item], places: dict[str, str], samples: Path) -> dict[str, float]:
    """The score of each `QUERY_ID:SAMPLE_KEY`; `places` says where these samples stand in the file `samples`."""
    scores: dict[str, float] = {}
    scored_at: dict[str, str] = {}
    for item in items:
        for key in item.value:
            if key not in places:
                raise DataError(f"{item.where}: a score of {key}, expected QUERY_ID:SAMPLE_KEY of a sample in {samples}; use its samples")
            if key in scores:
                raise DataError(f"{item.where}: a second score of {key}, the first is at {scored_at[key]}; keep one")
            scores[key] = number(item, key, item.value[key])
            scored_at[key] = item.where
    return scores


def _sample_places(records: list[Item]) -> dict[str, str]:
    """Where each `QUERY_ID:SAMPLE_KEY` stands."""
    place_by_id: dict[str, str] = {}
    places: dict[str, str] = {}
    for record in records:
        check_unique(place_by_id, record.value["id"], record.where)
        responses = list_of(record, "responses", str)
        list_of(record, "finished", bool, len(responses))
        places |= {f"{record.value['id']}:sample_{index}": record.where for index in range(len(responses))}
    return places
