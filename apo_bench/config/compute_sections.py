"""The sections `compute` and `engines` of params.yaml: what models run on, and by what."""

from typing import Annotated, Literal

from pydantic import Field

from apo_bench.config.sections import Count, Rate, Section


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


class VllmEngine(Section):
    """How vLLM spreads a policy over devices."""

    tensor_parallel: Count
    """Devices that share each layer; must divide the attention heads."""
    data_parallel: Count
    """Copies of the policy, each with its share of the prompts."""
    memory_fraction: Rate
    """Share of a device's memory for weights and keys and values."""


class DeepspeedEngine(Section):
    """How DeepSpeed shards a training run."""

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


class Engines(Section):
    """Where work runs: in the stage's own process, or by vLLM (sampling) and DeepSpeed (training, and scoring over its ranks)."""

    stages: Literal["local", "ray"]
    """Whether stages run on this machine or on the nodes of a Ray cluster, which share this folder."""
    sampling: Literal["in_process", "vllm", "auto"]
    """auto: vLLM where it is installed and the device is a GPU, else in process."""
    training: Literal["in_process", "deepspeed"]
    vllm: VllmEngine
    deepspeed: DeepspeedEngine
