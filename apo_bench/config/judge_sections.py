"""The section `judge` of params.yaml: what is judged, and by whom."""

from typing import Annotated, Literal

from pydantic import Field

from apo_bench.config.sections import ChatServer, Count, Name, Section, Weight


class GoldJudge(Section):
    """The gold scorer, where gold is known, with faults that are known, for the audit to find."""

    source: Literal["gold"]
    noise: Weight
    """Standard deviation of what is added to the gold score of each answer, anew in each order."""
    position_bias: float
    """Gold points that the answer shown first gets on top."""


class ServerJudge(ChatServer):
    """A model behind an OpenAI-compatible server."""

    source: Literal["server"]
    revision: str
    """What tells versions of the model apart, a date or a commit; part of the key of each answer in the ledger."""
    json_schema: bool
    """Whether the server is made to keep to the form of a verdict (`response_format`); if not, the template alone asks for it."""


class VllmJudge(Section):
    """A model that the stage serves itself, by vLLM on this machine, for as long as it has something to ask."""

    source: Literal["vllm"]
    model: str
    """A folder, seen from the profile's, or a name on the hub."""
    revision: str
    """A commit of the hub; of a folder, whatever tells its versions apart."""
    json_schema: bool
    max_model_len: Count
    """Tokens of prompt and answer together."""
    memory_fraction: Annotated[float, Field(gt=0, lt=1)]
    """Share of the device's memory, on a CPU of the machine's."""
    temperature: Annotated[float, Field(ge=0)]
    max_tokens: Count
    concurrency: Count
    timeout_seconds: Annotated[float, Field(gt=0)]
    max_requests: Count

    def at(self, base_url: str) -> ServerJudge:
        """The same model behind the server that was started for it."""
        same = self.model_dump(exclude={"source", "max_model_len", "memory_fraction"})
        own = {"source": "server", "base_url": base_url, "key_variable": "VLLM_API_KEY", "requests_per_minute": None}
        free = {"max_usd": 1.0, "usd_per_million_prompt_tokens": 0.0, "usd_per_million_completion_tokens": 0.0}
        return ServerJudge.model_validate(same | own | free)


class Judge(Section):
    """Pairwise verdicts on test responses, in both orders."""

    rounds: list[Name]
    """Rounds whose policies are judged, against SFT and, with another reward model than RM_base, against that one's; [] for none."""
    seeds: list[int]
    """Replicates whose policies are judged."""
    human_pairs: list[Literal["pairs_test", "pairs_validation"]]
    """Records of human pairs that the judge itself is tested on; [] for none."""
    num_human_pairs: Count
    """How many of them, drawn by the seed."""
    templates: str
    """Folder with a file SUBSET.txt for each subset, what the judge is asked about its prompts; seen from the profile's folder."""
    seed: int
    provider: Annotated[GoldJudge | ServerJudge | VllmJudge, Field(discriminator="source")]

    @property
    def is_used(self) -> bool:
        """Whether there is anything to judge."""
        return bool((self.rounds and self.seeds) or self.human_pairs)
