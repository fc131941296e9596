"""A short `make fuzz`: whatever is done to an input is told in a line or does no harm. Model folders: tests/models/test_loading.py."""

import random

import pytest

from apo_bench.core.errors import DataError
from benchmarks import fuzz
from benchmarks.broken_inputs import exchange_files, harm_of_rows, hh_files, ledgers, params, records, server_answers
from benchmarks.fuzz import CLEAR, HARMLESS, SILENT, TRACEBACK, tried
from benchmarks.mutations import MARK, at, mutated

NUMBERS = {records: 120, hh_files: 40, ledgers: 60, server_answers: 20, exchange_files: 80, params: 25}


@pytest.mark.parametrize("kind", NUMBERS, ids=lambda kind: kind.__name__)
def test_faults_are_told_or_do_no_harm(kind, root, monkeypatch):
    monkeypatch.chdir(root)
    found = fuzz.sweep(kind, NUMBERS[kind], seed=7)
    assert [one for one in found if one.outcome not in (CLEAR, HARMLESS)] == []
    assert {one.outcome for one in found} == {CLEAR, HARMLESS}


def test_what_counts_as_what():
    """Else the sweeps could not fail."""

    def fail(error):
        raise error

    assert tried("", lambda: fail(DataError("rows.jsonl:2: broken"))).outcome == CLEAR
    assert tried("", lambda: fail(DataError("rows.jsonl:2: broken\nvery"))).outcome == TRACEBACK
    assert tried("", lambda: fail(DataError("broken"))).outcome == TRACEBACK
    assert tried("", lambda: fail(KeyError("x"))).outcome == TRACEBACK
    assert tried("", lambda: "").outcome == HARMLESS
    assert tried("", lambda: "two ids").outcome == SILENT


@pytest.mark.parametrize(
    ("change", "harm"),
    [
        ({}, ""),
        ({"id": ""}, "no id"),
        ({"subset": "not a name"}, "no subset"),
        ({"dialogue": "Hi?"}, "no dialogue"),
        ({"responses": ["a", None]}, "no responses"),
        ({"finished": [True]}, "no finished"),
        ({"rewards": [1, True]}, "no rewards"),
        ({"rewards": [1, 10**400]}, "no rewards"),
    ],
)
def test_harm_is_seen_without_the_schema(change, harm, tmp_path):
    row = {"id": "a", "subset": "helpful", "dialogue": "\n\nHuman: Hi?\n\nAssistant:", "responses": ["a", "b"]}
    row |= {"finished": [True, False], "rewards": [1, 0.5]} | change
    assert harm_of_rows([row], "scores", tmp_path).startswith(harm) and bool(harm_of_rows([row], "scores", tmp_path)) is bool(harm)


def test_each_mutation_changes_the_one_thing_it_names():
    value = {"a": [1, {"b": "x"}], "c": None}
    for seed in range(300):
        mutation = mutated(value, random.Random(seed))
        assert value == {"a": [1, {"b": "x"}], "c": None}
        if mutation.what == "replaced":
            assert repr(mutation.new) != repr(at(value, mutation.path)) == repr(mutation.old)
        assert MARK not in mutation.text
