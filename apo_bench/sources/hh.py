"""Anthropic's HH-RLHF in its own layout: a folder a subset, each with a train and a test file, .jsonl or .jsonl.gz.

A raw pair is two whole dialogues, `chosen` and `rejected`, that share all but the last turn of the assistant. Most are so; about one in
a hundred is not.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from apo_bench.config.data_sections import Kind
from apo_bench.config.sections import HubRevision
from apo_bench.core.errors import DataError, MissingInputError
from apo_bench.core.files import complete_directory, read_jsonl
from apo_bench.core.records import PairRow
from apo_bench.core.schemas import Schema
from apo_bench.data.hub import download
from apo_bench.data.pairs import Dropped, PairData, Side, clean_pairs
from apo_bench.data.transcripts import split_text

NO_TURNS = "no Human turn first or no Assistant turn"
CUT = "cut at a stray marker"
HELPFUL, HARMLESS = "helpful", "harmless"
"""Requests for help, and dialogues in which the human tries to get harm out of the assistant, a few of whose questions are harmless."""
FOLDERS = {"helpful-base": HELPFUL, "helpful-online": HELPFUL, "helpful-rejection-sampled": HELPFUL, "harmless-base": HARMLESS}


class RawPair(TypedDict):
    """Two whole dialogues."""

    chosen: str
    rejected: str


RAW_PAIR = Schema(RawPair)


class HH(PairData):
    """Which of its folders, and where they come from."""

    card = "Anthropic's HH-RLHF: dialogues of crowd workers with assistants, some of them meant to get harm out of the assistant."
    hub_names = ("Anthropic/hh-rlhf",)

    hub: HubRevision
    """Where `apo-bench fetch` gets the folder if it is not there."""
    subsets: Annotated[list[Literal["helpful-base", "helpful-online", "helpful-rejection-sampled", "harmless-base"]], Field(min_length=1)]

    @property
    def kinds(self) -> dict[str, Kind]:
        """Both, whichever folders are asked for."""
        return {HELPFUL: Kind("requests for help"), HARMLESS: Kind("red-team dialogues", "which often prefers what helpful does not")}

    def read(self, split: str) -> dict[str, list[Any]]:
        """See `PairData`."""
        return {folder: read_raw_pairs(Path(self.folder), folder, split) for folder in sorted(set(self.subsets))}

    def clean(self, raw: dict[str, list[Any]]) -> tuple[list[PairRow], Counter[str], Counter[str]]:
        """See `PairData`."""
        return clean_raw_pairs((FOLDERS[folder], pair) for folder, pairs in raw.items() for pair in pairs)

    def fetch(self) -> str:
        """See `Data`."""
        folder = Path(self.folder)
        if folder.is_dir():
            return f"{folder}: there"
        patterns = [f"{subset}/*.jsonl.gz" for subset in self.subsets]
        with complete_directory(folder) as scratch:
            told = download(self.hub, "dataset", scratch, patterns, "or give a folder in its layout: apo-bench fetch --data FOLDER")
        return f"{folder}: {told}"


SOURCE = HH


def read_raw_pairs(folder: Path, subset: str, split: str) -> list[RawPair]:
    """The rows of `<folder>/<subset>/<split>.jsonl` or `.jsonl.gz`, with `chosen` and `rejected`.

    Raises:
        MissingInputError: there is no such folder or file.
        DataError: both files are there, the compression is broken, or a line is not an object with these two texts.
    """
    return read_jsonl(_find(Path(folder), subset, split), RAW_PAIR)


def clean_raw_pairs(raw: Iterable[tuple[str, RawPair]]) -> tuple[list[PairRow], Counter[str], Counter[str]]:
    """Turns raw pairs, each with its subset, into records of the kind "pairs"; see `clean_pairs`."""
    return clean_pairs(raw, _sides, [NO_TURNS], CUT)


def _sides(pair: RawPair) -> tuple[Side, Side, bool]:
    chosen, rejected = split_text(pair["chosen"]), split_text(pair["rejected"])
    if chosen is None or rejected is None:
        raise Dropped(NO_TURNS)
    was_cut = chosen.was_cut or rejected.was_cut
    return Side(chosen.dialogue, chosen.response), Side(rejected.dialogue, rejected.response), was_cut


def _find(folder: Path, subset: str, split: str) -> Path:
    if not folder.is_dir():
        raise MissingInputError(f"{folder}: no such folder; get it with `apo-bench fetch`, or name it in prepare.folder")
    plain, compressed = (folder / subset / f"{split}{suffix}" for suffix in (".jsonl", ".jsonl.gz"))
    found = [path for path in (plain, compressed) if path.is_file()]
    if len(found) > 1:
        raise DataError(f"{plain} and {compressed}: found both, expected one of them; remove the other")
    if not found:
        raise MissingInputError(f"{plain}: no such file, nor {compressed.name}; get the folder again with `apo-bench fetch`")
    return found[0]
