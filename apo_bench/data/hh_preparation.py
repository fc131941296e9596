"""Makes the records of HH-RLHF: splits without a shared conversation, prompts, golden responses, demonstrations."""

from collections import Counter
from pathlib import Path
from typing import Any

from apo_bench.config.data_sections import HHData, PreferenceData
from apo_bench.core.errors import DataError
from apo_bench.core.seeds import derive_seed
from apo_bench.data.golden import golden_responses
from apo_bench.data.hh import clean_pairs, conversation, read_raw_pairs
from apo_bench.data.preparation import Rows, assert_disjoint
from apo_bench.data.records import COLUMNS

PairData = HHData | PreferenceData
"""Sources of pairs that people labelled."""
SIZE_KEYS = {"rm": "num_rm_prompts", "lm": "num_lm_prompts", "validation": "num_validation_prompts", "test": "num_test_pairs"}
IN_TEST_FILES = "conversation of the test files"
SEED_RANGE = 2**63
"""`derive_seed` gives whole numbers below it."""


def prepare_hh(settings: HHData) -> tuple[dict[str, Rows], dict[str, Any]]:
    """All records of the profile, by file name, and a report of their counts.

    The report's counts add up: what was read is what was dropped, for each reason, what a split holds beyond the size asked for, and
    what the pairs files hold.

    Raises:
        MissingInputError: the folder or a file of it is not there.
        DataError: a raw file is broken, or a split has fewer pairs or prompts than asked for.
        ApoBenchError: other children of it, if the golden responses cannot be had.
    """
    return prepare_pairs(settings, *_read(settings))


def prepare_pairs(settings: PairData, train: Rows, test: Rows, report: dict[str, Any]) -> tuple[dict[str, Rows], dict[str, Any]]:
    """The records that clean pairs of any source make, and the report of their counts; errors as those of `prepare_hh`.

    Args:
        settings: their numbers, and where golden responses come from.
        train: records of the kind "pairs" that are split.
        test: those that are tested on.
        report: `num_read`, `dropped` and `changed`, by split.
    """
    splits, report["dropped"]["train"][IN_TEST_FILES] = _split_conversations(train, test, settings)
    pairs = {name: _take(rows, SIZE_KEYS[name], f"pairs of split {name}", settings) for name, rows in splits.items()}
    assert_disjoint({name: sorted({conversation(row["dialogue"]) for row in rows}) for name, rows in pairs.items()})
    if settings.num_further_pairs:
        taken = {id(row) for row in pairs["rm"]}
        further = [row for row in splits["rm"] if id(row) not in taken]
        pairs["further"] = _take(further, "num_further_pairs", "further pairs of half rm", settings)
    unique = {name: _unique_dialogues(pairs[name]) for name in ("rm", "lm", "test")}
    game = {name: _take(unique[name], "num_game_prompts", f"different prompts of half {name}", settings) for name in ("rm", "lm")}
    files = {f"pairs_{name}": rows for name, rows in pairs.items()}
    test = _take(unique["test"], "num_test_prompts", "different test prompts", settings)
    files["prompts_test"] = _prompts(test)
    files["prompts_lm"] = _prompts(game["lm"])
    files["golden_rm"] = _responses(game["rm"], golden_responses(settings.golden, game["rm"]))
    # These golden responses are never trained on, only compared with: the human choice will do, and costs no request.
    files["golden_lm"], files["golden_test"] = _chosen(game["lm"]), _chosen(test)
    files["demonstrations"] = _chosen(pairs["rm"])
    report |= {
        "num_records": {name: len(rows) for name, rows in files.items()},
        "num_beyond_size": {
            name: len(rows) - len(pairs[name]) - (len(pairs.get("further", ())) if name == "rm" else 0) for name, rows in splits.items()
        },
        "mean_characters": _mean_characters(files),
    }
    return files, report


def _read(settings: HHData) -> tuple[Rows, Rows, dict[str, Any]]:
    """The clean pairs of the train and of the test files, and the report of what was read, dropped and changed."""
    report: dict[str, dict[str, Any]] = {"num_read": {}, "dropped": {}, "changed": {}}
    rows = {}
    for split in ("train", "test"):
        raw = []
        for subset in sorted(set(settings.subsets)):  # the order in params.yaml must not decide which of two duplicates stays
            pairs = read_raw_pairs(Path(settings.folder), subset, split)
            report["num_read"][f"{subset}/{split}"] = len(pairs)
            raw += [("harmless" if subset == "harmless-base" else "helpful", pair) for pair in pairs]
        rows[split], report["dropped"][split], report["changed"][split] = clean_pairs(raw)
    return rows["train"], rows["test"], report


def _split_conversations(train: Rows, test: Rows, settings: PairData) -> tuple[dict[str, Rows], int]:
    """The rows of each split, and how many rows of the train files are left out as the test files have their conversation.

    All rows of a conversation fall into the same split, by the hash of its first human turn.
    """
    splits: dict[str, Rows] = {"rm": [], "lm": [], "validation": [], "test": test}
    in_test = {conversation(row["dialogue"]) for row in test}
    num_left_out = 0
    for row in train:
        key = conversation(row["dialogue"])
        if key in in_test:
            num_left_out += 1
        else:
            splits[_split_of(key, settings)].append(row)
    return splits, num_left_out


def _split_of(key: str, settings: PairData) -> str:
    place = derive_seed(settings.seed, "splits", key) / SEED_RANGE
    if place < settings.validation_fraction:
        return "validation"
    return "rm" if place < (1 + settings.validation_fraction) / 2 else "lm"


def _take(rows: Rows, size_key: str, what: str, settings: PairData) -> Rows:
    """As many rows as the setting `size_key` says, in the order of their hashes, with the share of subsets that all of them have."""
    size = getattr(settings, size_key)
    if size > len(rows):
        cure = f"lower it to {len(rows)} or less" if rows else "add data"
        raise DataError(f"prepare.{size_key}: {size} {what} wanted, {len(rows)} found in {settings.folder}; {cure}")
    in_order = sorted(rows, key=lambda row: derive_seed(settings.seed, "order", *(row[column] for column in COLUMNS["pairs"])))
    left = _shares([row["subset"] for row in rows], size)
    taken = []
    for row in in_order:
        if left[row["subset"]]:
            left[row["subset"]] -= 1
            taken.append(row)
    return taken


def _shares(subsets: list[str], size: int) -> Counter[str]:
    """How many of each subset `size` rows have if they have the shares that all have."""
    shares: Counter[str] = Counter()
    num_so_far = 0
    for subset, count in sorted(Counter(subsets).items()):
        before = round(size * num_so_far / len(subsets))
        num_so_far += count
        shares[subset] = round(size * num_so_far / len(subsets)) - before
    return shares


def _unique_dialogues(pairs: Rows) -> Rows:
    """The first pair of each dialogue."""
    by_id: dict[str, dict[str, Any]] = {}
    for row in pairs:
        by_id.setdefault(row["id"], row)
    return list(by_id.values())


def _chosen(pairs: Rows) -> Rows:
    return _responses(pairs, [row["chosen"] for row in pairs])


def _responses(pairs: Rows, responses: list[str]) -> Rows:
    return [{**prompt, "response": response} for prompt, response in zip(_prompts(pairs), responses, strict=True)]


def _prompts(rows: Rows) -> Rows:
    return [{column: row[column] for column in COLUMNS["prompts"]} for row in rows]


def _mean_characters(files: dict[str, Rows]) -> dict[str, float]:
    pairs = [row for name, rows in files.items() if name.startswith("pairs_") for row in rows]
    texts = {
        "prompts": [row["dialogue"] for row in pairs],
        "chosen": [row["chosen"] for row in pairs],
        "rejected": [row["rejected"] for row in pairs],
        "golden": [row["response"] for row in files["golden_rm"]],
    }
    return {name: sum(map(len, values)) / len(values) for name, values in texts.items()}
