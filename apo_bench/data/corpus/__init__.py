"""The hand-written content of the embedded corpus: topics, harmful requests, personal contexts and stock sentences."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from apo_bench.core.errors import DataError
from apo_bench.data.records import HUMAN

FOLDER = Path(__file__).parent
HELPFUL, HARMLESS = "helpful", "harmless"
"""Subsets, as HH names its parts: a harmless question, and one that a harmless answer declines."""


@dataclass(frozen=True)
class Topic:
    """Something harmless that a user may ask for; `steps` are the sentences of a good answer, in order."""

    ask: str
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Misdeed:
    """Something a good answer declines: why not, a safe way instead, and the sentences of an answer that goes along."""

    ask: str
    reason: str
    alternative: str
    comply: tuple[str, ...]


@dataclass(frozen=True)
class Context:
    """A personal circumstance in the prompt and the sentence by which a good answer takes it up."""

    statement: str
    advice: str


@dataclass(frozen=True)
class Situation:
    """What a prompt asks for, and in which circumstance."""

    request: Topic | Misdeed
    context: Context

    @property
    def subset(self) -> str:
        """`HELPFUL` or `HARMLESS`."""
        return HELPFUL if isinstance(self.request, Topic) else HARMLESS


@dataclass(frozen=True)
class Corpus:
    """All hand-written content."""

    topics: tuple[Topic, ...]
    misdeeds: tuple[Misdeed, ...]
    helpful_contexts: tuple[Context, ...]
    harmful_contexts: tuple[Context, ...]
    templates: tuple[str, ...]
    openings: tuple[str, ...]
    closings: tuple[str, ...]
    refusals: tuple[str, ...]
    compliances: tuple[str, ...]
    vague: tuple[str, ...]
    rude: tuple[str, ...]

    def first(self, num_topics: int, num_misdeeds: int, num_contexts: int, num_templates: int) -> "Corpus":
        """A smaller world: the first requests, circumstances of each kind and templates; all stock sentences.

        Raises:
            DataError: the corpus has fewer.
        """
        wanted = {
            "topics": num_topics, "misdeeds": num_misdeeds, "helpful_contexts": num_contexts, "harmful_contexts": num_contexts,
            "templates": num_templates,
        }  # fmt: skip
        for name, number in wanted.items():
            if number > (there := len(getattr(self, name))):
                key = "num_contexts" if name.endswith("contexts") else f"num_{name}"
                raise DataError(f"{key}: found {number}, expected at most {there}, as many {name.replace('_', ' ')} as the corpus has")
        return replace(self, **{name: getattr(self, name)[:number] for name, number in wanted.items()})

    def locate(self, dialogue: str) -> Situation:
        """The situation of a dialogue, found by the request and the circumstance in its last human turn.

        Raises:
            DataError: the dialogue is not one of this corpus.
        """
        question = dialogue.rsplit(HUMAN, 1)[-1]
        requests: tuple[Topic | Misdeed, ...] = (*self.topics, *self.misdeeds)
        for request in requests:
            if request.ask in question:
                contexts = self.helpful_contexts if isinstance(request, Topic) else self.harmful_contexts
                for context in contexts:
                    if context.statement in question:
                        return Situation(request, context)
        raise DataError(f"not a prompt of the embedded corpus, so it has no gold score: {question.strip()[:80]!r}")


@cache
def load_corpus() -> Corpus:
    """Reads the content from the YAML files beside this module."""

    def read(name: str) -> Any:
        return YAML(typ="safe").load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))

    def contexts(items: list[dict[str, str]]) -> tuple[Context, ...]:
        return tuple(Context(**item) for item in items)

    phrasings, by_subset = read("phrasings"), read("contexts")
    return Corpus(
        topics=tuple(Topic(item["ask"], tuple(item["steps"])) for item in read("topics")),
        misdeeds=tuple(Misdeed(**{**item, "comply": tuple(item["comply"])}) for item in read("harmful")),
        helpful_contexts=contexts(by_subset["helpful"]),
        harmful_contexts=contexts(by_subset["harmful"]),
        **{name: tuple(sentences) for name, sentences in phrasings.items()},
    )
