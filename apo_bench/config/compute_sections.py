"""The sections `compute` and `engines` of params.yaml: what models run on, and by what."""

from abc import abstractmethod
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializeAsAny

from apo_bench.config.sections import Count, Sampling, Section
from apo_bench.core.errors import EngineError


class LoRA(Section):
    """Low-rank adapters (Hu et al. 2021) are trained instead of all weights, and merged before a model is saved."""

    rank: Count
    alpha: Count
    target_modules: Annotated[list[str], Field(min_length=1)]


class Compute(Section):
    """How models are run. All of it shapes results in their last digits or more, so it is a parameter and not read off the machine."""

    num_threads: Count
    """Threads of a stage; `make repro` runs stages side by side on the other cores."""
    device: Literal["cpu", "cuda"]
    dtype: Literal["float32", "bfloat16", "auto"]
    """bfloat16: matrix products in training (the weights stay float32), and whole models in sampling and scoring. auto: if it is
    faster, so results then differ between kinds of machines."""
    deterministic: bool = True
    """On a GPU, sums are added up in the same order each time, so that the same work on the same kind of card gives the same bytes."""
    stages_per_gpu: Count = 1
    """Stages side by side on a GPU, each with its share of the memory, which batches of sampling follow. vLLM and DeepSpeed have theirs
    for themselves."""
    max_prompt_length: Count
    """Tokens of a prompt, in sampling, training and scoring alike; a longer one loses its oldest turns, then its oldest tokens."""
    gradient_checkpointing: bool
    micro_batch_tokens: Count | None
    """Tokens that a rank trains on at once: a batch with more is worked off in parts, whose gradients add up. null: each batch whole."""
    lora: LoRA | None
    frozen_layers: Annotated[int, Field(ge=0)]
    """The lowest layers of a pretrained model, which training leaves as they are with the embeddings below them; 0: all are trained."""


class Sampler(Section):
    """A sampling engine with its settings, which stand under `engines.samplers`, by its name.

    Each is a file `apo_bench/samplers/NAME.py`, found by that name, whose `SAMPLER` is a class derived from this one: its keys are fields,
    and nothing outside the file knows its name.
    """

    packages: ClassVar[dict[str, str]] = {}
    """Device -> the package that samples on it; none: what the project needs anyway. Stages record its version."""
    is_whole: ClassVar[bool] = False
    """Whether no other stage may be on its devices, as it fills the ones that it is given."""

    @property
    def num_devices(self) -> int:
        """GPUs, or shares of the processors, that a stage takes."""
        return 1

    def check_installed(self, device: str) -> None:
        """Checks that what it needs to sample on the device is there.

        Raises:
            EngineError: it is not, with how to get it.
        """

    @abstractmethod
    def generate(
        self,
        policy: Path,
        end_token_id: int,
        prompts: list[list[int]],
        settings: Sampling,
        seeds: list[int],
        compute: Compute,
        title: str,
    ) -> list[list[list[int]]]:
        """Samples K responses to each prompt by the policy in a folder, which is gone from memory at the end.

        Args:
            policy: the folder.
            end_token_id: a response ends with it, or after `max_new_tokens`.
            prompts: B prompts as token ids.
            settings: K and the sampling parameters.
            seeds: of each prompt, which it draws from whatever stands beside it.
            compute: device and type.
            title: what the progress bar says.

        Returns:
            B groups of K responses as token ids, each with its end token if it has ended.

        Raises:
            ModelError: the device is not there.
            ConfigError: it would sample otherwise than these settings say.
            EngineError: it is not installed, cannot be spread as asked, ran out of memory or died, with what to change.
        """


class TrainingEngine(Section):
    """What a training engine says of itself: others ask it, and only `apo_bench.engines.training` knows it by its name.

    As it stands here it is the stage's own process.
    """

    package: ClassVar[str] = ""
    """Its package, an extra of ours by the same name; "" for none. Stages record its version."""
    is_launched: ClassVar[bool] = False
    """Whether stages run as ranks, fresh processes that do the same work together; they have their devices for themselves."""
    ranks_key: ClassVar[str] = ""
    """What says how many ranks there are."""

    @property
    def num_devices(self) -> int:
        """GPUs of this host, or shares of its processors, that a stage takes."""
        return 1

    @property
    def hosts_file(self) -> str | None:
        """The file that names the hosts of the ranks; None: all are on this one."""
        return None

    @property
    def checkpointed(self) -> list[Any]:
        """Of its settings those that shape its checkpoints."""
        return []

    def rank_variables(self, device: str) -> dict[str, str]:
        """Environment variables of all ranks."""
        return {}

    def memory_cures(self, device: str) -> list[str]:
        """What to change where memory runs out."""
        return ["engines.training: deepspeed"]

    def check_installed(self) -> None:
        """Checks that its package is there.

        Raises:
            EngineError: it is not, with how to get it.
        """
        if self.package and find_spec(self.package) is None:
            cure = f"pip install 'apo-bench[{self.package}]', or write in_process"
            raise EngineError(f"engines.training: {self.package} is not installed; {cure}")


class DeepspeedEngine(TrainingEngine):
    """How DeepSpeed shards a training run."""

    package = "deepspeed"
    is_launched = True
    ranks_key = "engines.deepspeed.num_processes or the slots of the hostfile"

    zero_stage: Literal[2, 3]
    """2 shards gradients and optimiser states, 3 the weights too (Rajbhandari et al. 2020, ZeRO)."""
    cpu_offload: bool
    """Optimiser states, and with stage 3 weights, in the memory of the host."""
    num_processes: Count
    """Ranks on this host, one a device; on the hosts of a hostfile its slots say."""
    hostfile: str | None
    """File with a line `HOST slots=N` a host, for several hosts that share this folder; null: this host alone."""
    checkpoint_steps: Count
    """Steps between checkpoints, from which a stage that was cut off goes on."""

    @property
    def num_devices(self) -> int:
        """See `TrainingEngine`."""
        return self.num_processes

    @property
    def hosts_file(self) -> str | None:
        """See `TrainingEngine`."""
        return self.hostfile

    @property
    def checkpointed(self) -> list[Any]:
        """See `TrainingEngine`."""
        return [self.zero_stage, self.cpu_offload]

    def rank_variables(self, device: str) -> dict[str, str]:
        """See `TrainingEngine`; it calls functions of PyTorch by names of the past, and PyTorch would say so at each step."""
        return {"DS_ACCELERATOR": device, "PYTHONWARNINGS": "ignore::FutureWarning"}

    def memory_cures(self, device: str) -> list[str]:
        """See `TrainingEngine`."""
        offload = ["engines.deepspeed.cpu_offload: true"] if device == "cuda" and not self.cpu_offload else []
        return [*offload, "more ranks on more devices or hosts"]


class Engines(Section):
    """Where work runs: in the stage's own process, or by another sampling engine and DeepSpeed (training, and scoring over its ranks)."""

    stages: Literal["local", "ray"]
    """Whether stages run on this machine or on the nodes of a Ray cluster, which share this folder."""
    sampling: str
    """A file of samplers/. auto: the first of `samplers` that is installed where the device is a GPU, else in_process."""
    training: Literal["in_process", "deepspeed"]
    samplers: dict[str, SerializeAsAny[Sampler]]
    """Those with settings of their own."""
    deepspeed: DeepspeedEngine

    @property
    def trainer(self) -> TrainingEngine:
        """The one that trains."""
        return self.deepspeed if self.training == "deepspeed" else TrainingEngine()
