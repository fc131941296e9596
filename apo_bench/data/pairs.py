"""What sources of human pairs have in common: their cleaning, splits without a shared conversation, golden responses, demonstrations."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from apo_bench.config.data_sections import Data, Golden, GoldenAPI, GoldenChosen, GoldenFile
from apo_bench.config.sections import Rate
from apo_bench.core.errors import DataError
from apo_bench.core.records import PairRow, PromptRow, ResponseRow, prompt_of
from apo_bench.core.seeds import derive_seed
from apo_bench.data.golden import golden_responses
from apo_bench.data.records import assert_disjoint, parse_dialogue, prompt_id
from apo_bench.data.transcripts import conversation

EMPTY_RESPONSE = "empty response"
DIALOGUES_DIFFER = "dialogues of chosen and rejected differ"
EQUAL_RESPONSES = "both responses equal"
NOT_ALTERNATING = "turns do not alternate"
DUPLICATE = "duplicate pair"
REASONS = (EMPTY_RESPONSE, DIALOGUES_DIFFER, EQUAL_RESPONSES, NOT_ALTERNATING, DUPLICATE)
"""Why a pair may be dropped, whatever the source."""
SIZE_KEYS = {"rm": "num_rm_prompts", "lm": "num_lm_prompts", "validation": "num_validation_prompts", "test": "num_test_pairs"}
IN_TEST_FILES = "conversation of the test files"
SEED_RANGE = 2**63
"""`derive_seed` gives whole numbers below it."""
GOLDEN_WORDS: dict[type, str] = {
    GoldenChosen: "The response to a prompt that its human pair prefers; stands for an expert's or a strong model's.",
    GoldenFile: "A response to a prompt that a file brought along, such as an expert's or a strong model's.",
    GoldenAPI: "A strong model's response to a prompt.",
}

Raw = TypeVar("Raw")


class Dropped(Exception):
    """A pair that is well formed and cannot be used; the reason is its text."""


class Side(NamedTuple):
    """One side of a raw pair, as records have it."""

    dialogue: str
    response: str


class PairData(Data):
    """Pairs that people labelled. Their labels are given, and gold is unknown."""

    validation_fraction: Rate
    """Share of the conversations that are left to train on, by the hash of the first human turn; the halves share the rest equally."""
    golden: Golden

    @property
    def golden_words(self) -> str:
        """See `Data`."""
        return GOLDEN_WORDS[type(self.golden)]

    def without_requests(self) -> "PairData":
        """With the chosen responses for golden ones."""
        return self.model_copy(update={"golden": GoldenChosen(source="chosen")})

    @abstractmethod
    def read(self, split: str) -> dict[str, list[Any]]:
        """The raw pairs of a split, `train` or `test`, by where they come from, in an order that params.yaml's does not decide: it must not
        be that which of two duplicates stays.

        Raises:
            MissingInputError: a file is not there.
            DataError: it is broken.
        """

    @abstractmethod
    def clean(self, raw: dict[str, list[Any]]) -> tuple[list[PairRow], Counter[str], Counter[str]]:
        """What `clean_pairs` makes of them."""

    def is_held_out(self, row: PairRow) -> bool:
        """Whether a clean pair of the train files is tested on."""
        return False

    def prepare(self) -> tuple[Mapping[str, Sequence[PromptRow]], dict[str, Any]]:
        """See `Data`. The report's counts add up: what was read is what was dropped, for each reason, what a split holds beyond the size
        asked for, and what the pairs files hold.

        Raises:
            MissingInputError: the folder or a file of it is not there.
            DataError: a raw file is broken, or a split has fewer pairs or prompts than asked for.
            ApoBenchError: other children of it, if the golden responses cannot be had.
        """
        report: dict[str, dict[str, Any]] = {"num_read": {}, "dropped": {}, "changed": {}}
        rows = {}
        for split in ("train", "test"):
            raw = self.read(split)
            report["num_read"] |= {f"{name}/{split}": len(found) for name, found in raw.items()}
            rows[split], report["dropped"][split], report["changed"][split] = self.clean(raw)
        train = [row for row in rows["train"] if not self.is_held_out(row)]
        test = rows["test"] + [row for row in rows["train"] if self.is_held_out(row)]
        pairs, report["dropped"]["train"][IN_TEST_FILES], num_beyond_size = _split(train, test, self)
        prompts, responses = _prompts_and_responses(pairs, self)
        files: dict[str, Sequence[PromptRow]] = {f"pairs_{name}": found for name, found in pairs.items()}
        files |= {**prompts, **responses}
        report |= {
            "num_records": {name: len(found) for name, found in files.items()},
            "num_beyond_size": num_beyond_size,
            "mean_characters": _mean_characters([row for found in pairs.values() for row in found], responses["golden_rm"]),
        }
        return files, report


def clean_pairs(
    raw: Iterable[tuple[str, Raw]],
    sides_of: Callable[[Raw], tuple[Side, Side, bool]],
    reasons: Iterable[str] = (),
    change: str = "changed",
) -> tuple[list[PairRow], Counter[str], Counter[str]]:
    """Turns raw pairs, each with its subset, into records of the kind "pairs".

    Args:
        raw: the pairs.
        sides_of: the chosen and the rejected side of one, and whether it was changed; may raise `Dropped`.
        reasons: why it does; the others, `REASONS`, are found here.
        change: what is done to a pair that is changed.

    Returns:
        The records, how many pairs were dropped for each reason, and how many of the records were changed.
    """
    rows: dict[tuple[str, str, str], PairRow] = {}
    dropped, changed = Counter(dict.fromkeys((*reasons, *REASONS), 0)), Counter({change: 0})
    for subset, pair in raw:
        try:
            chosen, rejected, was_changed = sides_of(pair)
            _check_sides(chosen, rejected)
            identity = (chosen.dialogue, chosen.response, rejected.response)
            if identity in rows:
                raise Dropped(DUPLICATE)
        except Dropped as reason:
            dropped[str(reason)] += 1
            continue
        changed[change] += was_changed
        prompt: PromptRow = {"id": prompt_id(chosen.dialogue), "subset": subset, "dialogue": chosen.dialogue}
        rows[identity] = {**prompt, "chosen": chosen.response, "rejected": rejected.response}
    return list(rows.values()), dropped, changed


def share_of(settings: Data, *names: str) -> float:
    """Where the hash of something lies between 0 and 1."""
    return derive_seed(settings.seed, *names) / SEED_RANGE


def _check_sides(chosen: Side, rejected: Side) -> None:
    """Raises `Dropped` if the two are no pair that can be used."""
    if not chosen.response or not rejected.response:
        raise Dropped(EMPTY_RESPONSE)
    if chosen.dialogue != rejected.dialogue:
        raise Dropped(DIALOGUES_DIFFER)
    if chosen.response == rejected.response:
        raise Dropped(EQUAL_RESPONSES)
    turns = parse_dialogue(chosen.dialogue)
    expected = ["user", "assistant"] * (len(turns) // 2) + ["user"]
    if [turn["role"] for turn in turns] != expected or not all(turn["content"] for turn in turns):
        raise Dropped(NOT_ALTERNATING)


def _split(train: list[PairRow], test: list[PairRow], settings: PairData) -> tuple[dict[str, list[PairRow]], int, dict[str, int]]:
    """The pairs of each split; how many are left out as the test has their conversation; those of each split beyond its size."""
    splits, num_left_out = _split_conversations(train, test, settings)
    pairs = {name: _take(rows, SIZE_KEYS[name], f"pairs of split {name}", settings) for name, rows in splits.items()}
    assert_disjoint({name: sorted({conversation(row["dialogue"]) for row in rows}) for name, rows in pairs.items()})
    if settings.num_further_pairs:
        taken = {id(row) for row in pairs["rm"]}
        further = [row for row in splits["rm"] if id(row) not in taken]
        pairs["further"] = _take(further, "num_further_pairs", "further pairs of half rm", settings)
    num_further = len(pairs.get("further", ()))
    num_beyond_size = {name: len(rows) - len(pairs[name]) - (num_further if name == "rm" else 0) for name, rows in splits.items()}
    return pairs, num_left_out, num_beyond_size


def _prompts_and_responses(
    pairs: dict[str, list[PairRow]], settings: PairData
) -> tuple[dict[str, list[PromptRow]], dict[str, list[ResponseRow]]]:
    """The other records that are made of the pairs of the splits, by file name."""
    unique = {name: _unique_dialogues(pairs[name]) for name in ("rm", "lm", "test")}
    game = {name: _take(unique[name], "num_game_prompts", f"different prompts of half {name}", settings) for name in ("rm", "lm")}
    asked = _take(unique["test"], "num_test_prompts", "different test prompts", settings)
    responses = {
        "golden_rm": _responses(game["rm"], golden_responses(settings.golden, game["rm"])),
        # These are never trained on, only compared with: the human choice will do, and costs no request.
        "golden_lm": _chosen(game["lm"]),
        "golden_test": _chosen(asked),
        "demonstrations": _chosen(pairs["rm"]),
    }
    return {"prompts_test": list(map(prompt_of, asked)), "prompts_lm": list(map(prompt_of, game["lm"]))}, responses


def _split_conversations(train: list[PairRow], test: list[PairRow], settings: PairData) -> tuple[dict[str, list[PairRow]], int]:
    """The rows of each split, and how many rows of the train files are left out as the test files have their conversation.

    All rows of a conversation fall into the same split, by the hash of its first human turn.
    """
    splits: dict[str, list[PairRow]] = {"rm": [], "lm": [], "validation": [], "test": test}
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
    place = share_of(settings, "splits", key)
    if place < settings.validation_fraction:
        return "validation"
    return "rm" if place < (1 + settings.validation_fraction) / 2 else "lm"


def _take(rows: list[PairRow], size_key: str, what: str, settings: PairData) -> list[PairRow]:
    """As many rows as the setting `size_key` says, in the order of their hashes, with the share of subsets that all of them have."""
    size = getattr(settings, size_key)
    if size > len(rows):
        cure = f"lower it to {len(rows)} or less" if rows else "add data"
        raise DataError(f"prepare.{size_key}: {size} {what} wanted, {len(rows)} found in {settings.folder}; {cure}")
    in_order = sorted(
        rows,
        key=lambda row: derive_seed(settings.seed, "order", row["id"], row["subset"], row["dialogue"], row["chosen"], row["rejected"]),
    )
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


def _unique_dialogues(pairs: list[PairRow]) -> list[PairRow]:
    """The first pair of each dialogue."""
    by_id: dict[str, PairRow] = {}
    for row in pairs:
        by_id.setdefault(row["id"], row)
    return list(by_id.values())


def _chosen(pairs: list[PairRow]) -> list[ResponseRow]:
    return _responses(pairs, [row["chosen"] for row in pairs])


def _responses(pairs: list[PairRow], responses: list[str]) -> list[ResponseRow]:
    return [{**prompt_of(row), "response": response} for row, response in zip(pairs, responses, strict=True)]


def _mean_characters(pairs: list[PairRow], golden: list[ResponseRow]) -> dict[str, float]:
    texts = {
        "prompts": [row["dialogue"] for row in pairs],
        "chosen": [row["chosen"] for row in pairs],
        "rejected": [row["rejected"] for row in pairs],
        "golden": [row["response"] for row in golden],
    }
    return {name: sum(map(len, values)) / len(values) for name, values in texts.items()}
