"""The authors' files: round trips are exact in both directions, and what is broken is named by file and line or item."""

import json
import random

import pytest

from apo_bench.core.errors import DataError, MissingInputError, OutputError
from apo_bench.data.records import format_dialogue, prompt_id, read_records, write_records
from apo_bench.exchange.exports import export_records
from apo_bench.exchange.imports import import_golden, import_pairs, import_rejection_sampled, import_samples, import_scores

PIECES = [
    "<sep>",
    "<se",
    "p>",
    "sep>",
    "<",
    ">",
    "\n",
    "\r\n",
    "\t",
    '"',
    "\\",
    "\\n",
    "'",
    "{",
    "]",
    ":",
    ",",
    " ",
    "  ",
    "é",
    "你好",
    "🦊",
    "\u2028",
]
PIECES += ["\x00", "\x7f", "\u00a0", "\ufeff", "\u202e", "Human:", "\n\nHuman:", "\n\nAssistant:", "sample_0", "NaN", "true", "a", "Yes."]
FLOATS = [0.0, -0.0, 1e-07, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, -1 / 3, 2.0, 3, -7, 123456789.123456789]
QUERY = "\n\nHuman: Hi?\n\nAssistant:"


def text(rng: random.Random) -> str:
    """Text of what JSON, UTF-8, their separator and our dialogues are easily broken by."""
    return "".join(rng.choices(PIECES, k=rng.randrange(12)))


def our_records(kind: str, seed: int, count: int = 40) -> list[dict]:
    """Random records; the response texts repeat, so that rewards tie and targets are the same text."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        dialogue = format_dialogue(f"{number}{text(rng)}".replace("<sep>", "<>"))
        row = {"id": prompt_id(dialogue), "subset": rng.choice(["helpful", "harmless"]), "dialogue": dialogue}
        num_samples = rng.choice([1, 2, 4, 12])
        responses = [rng.choice([text(rng), "", " ", "same"]) for _ in range(num_samples)]
        samples = {"responses": responses, "finished": [rng.random() < 0.5 for _ in range(num_samples)]}
        rewards = [rng.choice([*FLOATS, rng.gauss(0, 1)]) for _ in range(num_samples)]
        if kind == "pairs":
            row |= {"chosen": f"{text(rng)}a", "rejected": f"{text(rng)}b"}
        elif kind == "responses":
            row |= {"response": f"{text(rng)}a"}
        elif kind == "samples":
            row |= samples
        elif kind == "scores":
            row |= {**samples, "rewards": rewards}
        rows.append(row)
    return rows


def to_ours(kind: str, source, output, folder, subset=None) -> str:
    """The import of `kind`; prompts and samples are taken from the folder."""
    if kind == "golden":
        return import_golden(source, output, folder / "prompts.jsonl")
    if kind == "scores":
        return import_scores(source, output, folder / "samples.jsonl")
    imports = {"pairs": import_pairs, "samples": import_samples, "rejection-sampled": import_rejection_sampled}
    return imports[kind](source, output, subset)


KINDS = {"pairs": "pairs", "samples": "samples", "golden": "responses", "scores": "scores", "rejection-sampled": "scores"}


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize("kind", KINDS)
def test_ours_to_theirs_to_ours_gives_the_same_bytes(tmp_path, kind, suffix):
    for seed in range(5):
        rows = our_records(KINDS[kind], seed)
        write_records(tmp_path / "ours.jsonl", rows)
        write_records(tmp_path / "prompts.jsonl", [{key: row[key] for key in ("id", "subset", "dialogue")} for row in rows])
        write_records(tmp_path / "samples.jsonl", [{key: row[key] for key in row if key != "rewards"} for row in rows])
        export_records(kind, tmp_path / "ours.jsonl", tmp_path / f"theirs{suffix}")
        to_ours(kind, tmp_path / f"theirs{suffix}", tmp_path / "back.jsonl", tmp_path)
        assert (tmp_path / "back.jsonl").read_bytes() == (tmp_path / "ours.jsonl").read_bytes()


def their_items(kind: str, seed: int, with_extra_keys: bool, count: int = 40) -> list[dict]:
    """Random items as the authors' code and other users of its formats write them."""
    rng = random.Random(seed)
    items = []
    for number in range(count):
        query = format_dialogue(f"{number}{text(rng)}".replace("<sep>", "<>")) + rng.choice(["", " ", "\n"])
        query_id = {"query_id": rng.choice([number, str(number), f"q:{number}"])}
        num_samples = rng.choice([1, 4, 11])
        extra = {"subset": rng.choice(["helpful", "harmless"])} if with_extra_keys else {}
        more = {"source": {"model": text(rng), "draw": rng.choice([None, 0.1, [True]])}} if rng.random() < 0.3 else {}
        samples = {f"sample_{index}": rng.choice([text(rng), "", "same"]) for index in range(num_samples)}
        finished = {"finished": [rng.random() < 0.5 for _ in samples]} if with_extra_keys else {}
        scores = {key: rng.choice([*FLOATS, rng.gauss(0, 1)]) for key in samples}
        if kind == "pairs":
            first, second = rng.sample(FLOATS[2:], 2)
            texts = [f"{query}<sep>{text(rng)}{end}" for end in "ab"]
            item = {"text": texts, "scores": rng.choice([[1.0, 0.0], [1, 0], [0.0, 1.0], [first, second]])}
            items.append({**item, **rng.choice([query_id, {}]), **rng.choice([{}, {"type": "apo"}]), **extra, **more})
        elif kind == "golden":
            items.append({**query_id, "golden": f"{text(rng)}a", **rng.choice([{}, {"query": query}]), **more})
        elif kind == "samples":
            items.append({"query": query, **query_id, **samples, **extra, **finished, **more})
        else:
            filled = [key for key in samples if samples[key]] or list(samples)
            best = max(scores[key] for key in filled)
            target = samples[rng.choice([key for key in filled if scores[key] == best])]
            items.append({**query_id, "query": query, **samples, "scores": scores, "target": target, **extra, **finished, **more})
    return items


@pytest.mark.parametrize("with_extra_keys", [True, False])
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize("kind", ["pairs", "samples", "golden", "rejection-sampled"])
def test_theirs_to_ours_to_theirs_gives_equal_values(tmp_path, kind, suffix, with_extra_keys):
    for seed in range(5):
        items = their_items(kind, seed, with_extra_keys)
        first, ours, second = tmp_path / f"a{suffix}", tmp_path / "ours.jsonl", tmp_path / "b.json"
        first.write_text("\n".join(map(json.dumps, items)) if suffix == ".jsonl" else json.dumps(items, indent=1), encoding="utf-8")
        if kind == "golden":
            dialogues = [item.get("query", QUERY).rstrip() for item in items]
            prompts = [{"id": str(items[index]["query_id"]), "subset": "helpful", "dialogue": text} for index, text in enumerate(dialogues)]
            write_records(tmp_path / "prompts.jsonl", prompts)
        to_ours(kind, first, ours, tmp_path, None if with_extra_keys else "helpful")
        read_records(ours, KINDS[kind])
        export_records(kind, ours, second, plain=not with_extra_keys)
        assert json.loads(second.read_text(encoding="utf-8")) == items
        bytes_before = ours.read_bytes()  # imported records round-trip too
        to_ours(kind, second, ours, tmp_path, None if with_extra_keys else "helpful")
        assert ours.read_bytes() == bytes_before


def test_scores_of_theirs_in_any_order_and_grouping(tmp_path):
    samples = [{"query_id": 7, "query": QUERY, "sample_0": "a", "sample_1": "b"}, {"query_id": "x:8", "query": QUERY, "sample_0": "c"}]
    (tmp_path / "samples.json").write_text(json.dumps(samples))
    import_samples(tmp_path / "samples.json", tmp_path / "samples.jsonl", "harmless")
    (tmp_path / "scores.json").write_text(json.dumps([{"x:8:sample_0": 0.1, "7:sample_1": -1e-07}, {"7:sample_0": 3}]))
    said = import_scores(tmp_path / "scores.json", tmp_path / "ours.jsonl", tmp_path / "samples.jsonl")
    assert [row["rewards"] for row in read_records(tmp_path / "ours.jsonl", "scores")] == [[3, -1e-07], [0.1]]
    assert "read 3 scores of " in said and "and 2 records of " in said and "wrote 2 records to " in said and "dropped nothing" in said
    said = export_records("scores", tmp_path / "ours.jsonl", tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == [{"7:sample_0": 3}, {"7:sample_1": -1e-07}, {"x:8:sample_0": 0.1}]
    assert said.endswith("; query ids with a colon, at which their code stops: 1")


def test_their_items_by_hand(tmp_path):
    """What the published code reads, key by key."""
    row = {"id": "i", "subset": "harmless", "dialogue": QUERY, "responses": [" ", "b", "c"], "finished": [True, True, False]}
    write_records(tmp_path / "pairs.jsonl", [{**{key: row[key] for key in ("id", "subset", "dialogue")}, "chosen": " b", "rejected": "c"}])
    write_records(tmp_path / "golden.jsonl", [{**{key: row[key] for key in ("id", "subset", "dialogue")}, "response": "g"}])
    write_records(tmp_path / "samples.jsonl", [row])
    write_records(tmp_path / "scores.jsonl", [{**row, "rewards": [9.0, 0.5, 0.5]}])
    samples = {"query_id": "i", "query": QUERY, "sample_0": " ", "sample_1": "b", "sample_2": "c"}
    extra = {"subset": "harmless", "finished": [True, True, False]}
    scores = {"sample_0": 9.0, "sample_1": 0.5, "sample_2": 0.5}
    expected = {
        ("pairs", "pairs"): [{"query_id": "i", "text": [f"{QUERY}<sep> b", f"{QUERY}<sep>c"], "scores": [1.0, 0.0], "subset": "harmless"}],
        ("golden", "golden"): [{"query_id": "i", "golden": "g"}],
        ("samples", "samples"): [{**samples, **extra}],
        ("scores", "scores"): [{"i:sample_0": 9.0}, {"i:sample_1": 0.5}, {"i:sample_2": 0.5}],
        ("rejection-sampled", "scores"): [{**samples, "target": "b", "scores": scores, **extra}],  # a blank best is passed over
    }
    for (kind, source), items in expected.items():
        export_records(kind, tmp_path / f"{source}.jsonl", tmp_path / "out.json")
        assert json.loads((tmp_path / "out.json").read_text()) == items
        export_records(kind, tmp_path / f"{source}.jsonl", tmp_path / "out.jsonl")
        assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == items
    said = export_records("samples", tmp_path / "samples.jsonl", tmp_path / "out.json", plain=True)
    assert json.loads((tmp_path / "out.json").read_text()) == [samples]
    assert said.endswith("; subset left out: 1; unfinished samples, which is left out too: 1")


def test_more_responses_become_ordered_pairs(tmp_path):
    """Of four responses with scores 2, 5, 2, 0 there are six pairs; one ties."""
    texts = [f"{QUERY}<sep>{response}" for response in ("a", "b", "c", "d<sep>d")]
    items = [{"query_id": "q", "text": texts, "scores": [2, 5, 2, 0], "type": "apo"}, {"query_id": "r", "text": texts[:1], "scores": [-1]}]
    (tmp_path / "in.json").write_text(json.dumps(items))
    said = import_pairs(tmp_path / "in.json", tmp_path / "out.jsonl", "helpful")
    rows = read_records(tmp_path / "out.jsonl", "pairs")
    chosen = [(row["chosen"], row["rejected"], row["scores"]) for row in rows]
    expected = [("b", "a", [2, 5]), ("a", "d<sep>d", [2, 0]), ("b", "c", [5, 2]), ("b", "d<sep>d", [5, 0]), ("c", "d<sep>d", [2, 0])]
    assert chosen == expected and {row["id"] for row in rows} == {"q"}
    assert said == (
        f"import pairs: read 2 items of {tmp_path}/in.json; wrote 5 records to {tmp_path}/out.jsonl; "
        "dropped items of one response: 1, pairs of equal score: 1; "
        "of type apo, a golden response against a sample and no human label: 1; without subset, taken as helpful: 2"
    )
    (tmp_path / "in.json").write_text(json.dumps(items[1:]))
    with pytest.raises(DataError, match=r"in.json: no record is left of 1 items"):
        import_pairs(tmp_path / "in.json", tmp_path / "out.jsonl", "helpful")


def test_what_is_assumed_is_said(tmp_path):
    items = [{"query_id": 1, "query": QUERY, "sample_0": "a", "sample_1": "b"}, {"query_id": 2, "query": QUERY, "sample_0": "c"}]
    items[1]["subset"] = "harmless"
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, items)) + "\n\n")
    said = import_samples(tmp_path / "in.jsonl", tmp_path / "out.jsonl", "helpful")
    rows = read_records(tmp_path / "out.jsonl", "samples")
    assert [(row["subset"], row["finished"]) for row in rows] == [("helpful", [True, True]), ("harmless", [True])]
    assert "; samples without finished, taken as finished: 3; without subset, taken as helpful: 1; " in said
    assert said.endswith("; with another subset of their own, which they keep: 1")
    pair = {"id": "i", "subset": "helpful", "dialogue": QUERY, "chosen": "a<sep>b", "rejected": "c"}
    write_records(tmp_path / "pairs.jsonl", [pair])
    said = export_records("pairs", tmp_path / "pairs.jsonl", tmp_path / "out.json")
    assert said.endswith("dropped nothing; responses with <sep>, at which their code stops: 1")
    (tmp_path / "golden.json").write_text(json.dumps([{"query_id": "i", "golden": "g"}]))
    write_records(tmp_path / "pairs.jsonl", [pair, pair, {**pair, "id": "j"}])
    said = import_golden(tmp_path / "golden.json", tmp_path / "out.jsonl", tmp_path / "pairs.jsonl")
    assert said.endswith(f"; prompts of {tmp_path}/pairs.jsonl without a golden response: 1")


PAIR = {"query_id": "q", "text": [f"{QUERY}<sep>a", f"{QUERY}<sep>b"], "scores": [1.0, 0.0], "subset": "helpful"}
SAMPLE = {"query_id": "q", "query": QUERY, "sample_0": "a", "sample_1": "b", "subset": "helpful"}
BEST = {**SAMPLE, "scores": {"sample_0": 1.5, "sample_1": 0.5}, "target": "a"}
GOLDEN = {"query_id": "p", "golden": "g"}
SCORES = {"p:sample_0": 1.0, "p:sample_1": 2.0}
BROKEN_ITEMS = [
    ("pairs", {**PAIR, "scores": [1.0]}, "scores has 1 values, expected 2, one a response"),
    ("pairs", {**PAIR, "scores": [1.0, float("nan")]}, "found NaN; JSON has finite numbers only"),
    ("pairs", {**PAIR, "scores": [1.0, "0"]}, "scores has '0', expected a finite number"),
    ("pairs", {**PAIR, "scores": [True, 0]}, "scores has True, expected a finite number"),
    ("pairs", {**PAIR, "scores": [10**400, 0]}, "expected a finite number"),
    ("pairs", {**PAIR, "text": PAIR["text"][:1]}, "scores has 2 values, expected 1"),
    ("pairs", {**PAIR, "text": []}, "text has 0 values, expected at least one"),
    ("pairs", {**PAIR, "text": [f"{QUERY}<sep>a", 3]}, "text has a int, expected str only"),
    ("pairs", {**PAIR, "text": [f"{QUERY}<sep>a", QUERY]}, "a text without <sep>, expected it between query and response"),
    ("pairs", {**PAIR, "text": [f"{QUERY}<sep>a", f"{QUERY} <sep>a"]}, "the texts have 2 different queries"),
    ("pairs", {**PAIR, "text": ["Hi?<sep>a", "Hi?<sep>b"]}, "the query must begin with '\\n\\nHuman:'"),
    ("pairs", {**PAIR, "text": [f"{QUERY}<sep>\ud83d", f"{QUERY}<sep>b"]}, "half of a surrogate pair"),
    ("pairs", {**PAIR, "type": "gail"}, "type is 'gail', expected apo, or no type for a human pair"),
    ("pairs", {**PAIR, "query_id": 1.5}, "query_id is float, expected text or a whole number"),
    ("pairs", {**PAIR, "query_id": True}, "query_id is bool, expected text or a whole number"),
    ("pairs", {**PAIR, "subset": "Not harmful"}, "subset is 'Not harmful', expected a name of small letters, digits and _"),
    ("pairs", {**PAIR, "chosen": "x"}, "the key chosen has another meaning in the output; rename it"),
    (
        "pairs",
        {key: PAIR[key] for key in ("query_id", "text", "scores")},
        "no key subset; give --subset",
    ),
    ("pairs", {"text": PAIR["text"]}, "no key scores; found text"),
    ("pairs", "text", "found a JSON str, expected an object"),
    ("samples", {**SAMPLE, "query_id": "first"}, "query_id first stands at"),
    ("samples", {key: SAMPLE[key] for key in SAMPLE if key != "query"}, "no key query; found query_id, sample_0"),
    (
        "samples",
        {**SAMPLE, "sample_3": "c"},
        "found the samples sample_0, sample_1, sample_3, expected sample_0, sample_1 and on without a gap",
    ),
    ("samples", {"query_id": "q", "query": QUERY, "subset": "helpful"}, "found the samples (none)"),
    ("samples", {**SAMPLE, "finished": [True]}, "finished has 1 values, expected 2"),
    ("samples", {**SAMPLE, "finished": [1, 0]}, "finished has a int, expected bool only"),
    ("samples", {**SAMPLE, "sample_1": None}, "sample_1 is NoneType, expected str"),
    ("samples", {**SAMPLE, "dialogue": "x"}, "the key dialogue has another meaning"),
    ("rejection-sampled", {**BEST, "target": "b"}, "target is not a response with the highest score, which is 1.5"),
    (
        "rejection-sampled",
        {**BEST, "scores": {"sample_0": 1.5}},
        "scores has sample_0, expected a score of each sample, sample_0, sample_1",
    ),
    ("rejection-sampled", {**BEST, "scores": {"sample_0": 1.5, "sample_1": None}}, "scores.sample_1 has None, expected a finite number"),
    ("rejection-sampled", SAMPLE, "no key scores"),
    ("golden", {**GOLDEN, "query_id": "unknown"}, "query_id unknown is not among the 2 prompts of"),
    ("golden", {**GOLDEN, "query_id": "first"}, "query_id first stands at"),
    ("golden", {"query_id": "p"}, "no key golden; found query_id"),
    ("golden", {**GOLDEN, "query": QUERY.replace("Hi", "Ho")}, "query differs from the dialogue of prompt p"),
    ("scores", {"p:sample_2": 1.0}, "a score of p:sample_2, expected QUERY_ID:SAMPLE_KEY of a sample in"),
    ("scores", {"sample_0": 1.0}, "a score of sample_0, expected QUERY_ID:SAMPLE_KEY"),
    ("scores", {"first:sample_0": 1.0}, "a second score of first:sample_0, the first is at"),
    ("scores", {**SCORES, "p:sample_1": float("inf")}, "found Infinity; JSON has finite numbers only"),
    ("scores", {**SCORES, "p:sample_1": "high"}, "p:sample_1 has 'high', expected a finite number"),
]
GOOD_ITEMS = {"pairs": PAIR, "samples": {**SAMPLE, "query_id": "first"}, "rejection-sampled": {**BEST, "query_id": "first"}}
GOOD_ITEMS |= {"golden": {**GOLDEN, "query_id": "first"}, "scores": {"first:sample_0": 1.0}}


@pytest.fixture
def folder(tmp_path):
    """With two of our prompts and their samples."""
    prompts = [{"id": identity, "subset": "helpful", "dialogue": QUERY} for identity in ("first", "p")]
    write_records(tmp_path / "prompts.jsonl", prompts)
    responses = [["a"], ["b", "c"]]
    rows = [{**prompt, "responses": texts, "finished": [True] * len(texts)} for prompt, texts in zip(prompts, responses, strict=True)]
    write_records(tmp_path / "samples.jsonl", rows)
    return tmp_path


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize(("kind", "item", "message"), BROKEN_ITEMS)
def test_a_broken_item_is_named(folder, kind, item, message, suffix):
    items = [json.dumps(GOOD_ITEMS[kind]), json.dumps(item)]
    path = folder / f"theirs{suffix}"
    path.write_text("[\n" + ",\n".join(items) + "]\n" if suffix == ".json" else "\n".join(items), encoding="utf-8")
    (folder / "ours.jsonl").write_text("old")
    with pytest.raises(DataError) as caught:
        to_ours(kind, path, folder / "ours.jsonl", folder)
    place = f"{path}: item 2: " if suffix == ".json" else f"{path}:2: "
    assert str(caught.value).startswith(place) and message in str(caught.value) and "\n" not in str(caught.value)
    assert (folder / "ours.jsonl").read_text() == "old"


def test_records_that_a_stage_would_refuse_are_not_written(folder, monkeypatch):
    monkeypatch.setattr("apo_bench.exchange.imports.split_query", lambda item, query: ("no dialogue", {}))
    (folder / "theirs.json").write_text(json.dumps([SAMPLE]))
    with pytest.raises(DataError, match="dialogue must begin with"):
        import_samples(folder / "theirs.json", folder / "ours.jsonl")
    assert not (folder / "ours.jsonl").exists()


def test_a_sample_without_a_score_is_named(folder):
    (folder / "theirs.json").write_text(json.dumps([{"first:sample_0": 1.0}, {"p:sample_1": 1.0}]))
    with pytest.raises(DataError, match=r"theirs.json: no score of p:sample_0 \(.*samples.jsonl:2\) and 0 more, expected one a sample"):
        to_ours("scores", folder / "theirs.json", folder / "ours.jsonl", folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "theirs: no items"),
        (b"[]", "theirs: no items; the list is empty"),
        (b'{"a": 1}\n{"b": }\n', "theirs:2: not JSON (Expecting value at column 7)"),
        (b'{"a": 1}\n\n{"b": 1}\n', "theirs:2: not JSON"),
        (b'[{"a": 1},\n{"b": ]', "theirs:2: not JSON (Expecting value at column 7)"),
        (b'{"a": 1}\n{"q": 1, "q": 2}', "theirs:2: the key 'q' stands twice in an object"),
        (b'[{"q": 1, "q": 2}]', "theirs: the key 'q' stands twice in an object"),
        (b'{"a": "\xe9"}', "theirs:1: not UTF-8"),
        (b'"text"', "theirs:1: found a JSON str, expected an object"),
    ],
)
def test_a_broken_file_is_named(folder, content, message):
    (folder / "theirs").write_bytes(content)
    with pytest.raises(DataError) as caught:
        import_samples(folder / "theirs", folder / "ours.jsonl")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_files_are_read_whatever_the_suffix_and_a_byte_order_mark(folder):
    for content in (json.dumps([SAMPLE]), json.dumps(SAMPLE), f"\n {json.dumps([SAMPLE])}\r\n", "\ufeff" + json.dumps(SAMPLE)):
        (folder / "theirs.txt").write_text(content, encoding="utf-8", newline="")
        assert "wrote 1 records" in import_samples(folder / "theirs.txt", folder / "ours.jsonl")


def test_names_of_outputs_and_missing_inputs(folder):
    with pytest.raises(DataError, match=r"ours.json: an output that ends in '.json', expected .jsonl; rename it"):
        import_samples(folder / "theirs.json", folder / "ours.json")
    with pytest.raises(DataError, match=r"theirs.txt: an output that ends in '.txt', expected .json or .jsonl"):
        export_records("samples", folder / "samples.jsonl", folder / "theirs.txt")
    with pytest.raises(MissingInputError, match=r"theirs.json: cannot be read \(No such file or directory\)"):
        import_samples(folder / "theirs.json", folder / "ours.jsonl")
    with pytest.raises(MissingInputError, match=r"gone.jsonl: no such file"):
        export_records("samples", folder / "gone.jsonl", folder / "theirs.json")
    with pytest.raises(OutputError, match="cannot be written"):
        export_records("samples", folder / "samples.jsonl", folder / "samples.jsonl" / "theirs.json")


def test_prompts_that_contradict_each_other_are_named(folder):
    rows = [{"id": "p", "subset": subset, "dialogue": QUERY} for subset in ("helpful", "harmless")]
    write_records(folder / "prompts.jsonl", rows)
    (folder / "theirs.json").write_text(json.dumps([GOLDEN]))
    with pytest.raises(DataError, match=r"prompts.jsonl:2: the id p stands at .*prompts.jsonl:1 for another prompt"):
        import_golden(folder / "theirs.json", folder / "ours.jsonl", folder / "prompts.jsonl")


OUR_PAIR = {"id": "i", "subset": "helpful", "dialogue": QUERY, "chosen": "a", "rejected": "b"}
OUR_SCORES = {
    **{key: OUR_PAIR[key] for key in ("id", "subset", "dialogue")},
    "responses": ["a", "b"],
    "finished": [True, True],
    "rewards": [1, 2],
}


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        ("pairs", {**OUR_PAIR, "dialogue": format_dialogue("What is <sep>?")}, "the dialogue has <sep>, which ends the query"),
        ("pairs", {**OUR_PAIR, "scores": [1.0, 1.0]}, "scores are both 1.0"),
        ("pairs", {**OUR_PAIR, "query_id": 5}, "query_id is 5 and id 'i', expected the same"),
        ("pairs", {**OUR_PAIR, "query_end": "x"}, "query_end is 'x', expected white space"),
        ("pairs", {**OUR_PAIR, "type": "gail"}, "type is 'gail'"),
        ("pairs", {**OUR_PAIR, "text": "x"}, "the key text has another meaning in the output"),
        ("pairs", {**OUR_PAIR, "chosen": "\ud83d"}, "half of a surrogate pair"),
        ("samples", {**OUR_SCORES, "responses": [], "finished": []}, "responses is [], expected at least one value"),
        ("samples", {**OUR_SCORES, "responses": ["a", 3]}, "responses[1] is int, expected str"),
        ("samples", {**OUR_SCORES, "finished": [True]}, "finished has 1 values, expected 2"),
        ("samples", {**OUR_SCORES, "sample_7": "x"}, "the key sample_7 has another meaning"),
        ("samples", {**OUR_SCORES, "query_id": None}, "query_id is NoneType"),
        ("scores", {**OUR_SCORES, "rewards": [1]}, "rewards has 1 values, expected 2"),
        ("scores", {**OUR_SCORES, "rewards": [1, float("nan")]}, "found NaN; JSON has finite numbers only"),
        ("scores", {**OUR_SCORES, "id": "first"}, "id 'first' stands at"),
        ("rejection-sampled", {**OUR_SCORES, "target": "a"}, "target is not a response with the highest score, which is 2"),
    ],
)
def test_a_record_that_cannot_be_exported_is_named(folder, kind, row, message):
    good = {**(OUR_PAIR if kind == "pairs" else OUR_SCORES), "id": "first"}
    (folder / "ours.jsonl").write_text("\n".join(map(json.dumps, [good, row])))
    with pytest.raises(DataError) as caught:
        export_records(kind, folder / "ours.jsonl", folder / "theirs.json")
    assert str(caught.value).startswith(f"{folder}/ours.jsonl:2: ") and message in str(caught.value) and "\n" not in str(caught.value)
    assert not (folder / "theirs.json").exists()
