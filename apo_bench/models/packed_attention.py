"""Attention over sequences that stand one behind the other, without padding: each sees itself alone, and responses see their prompt.

A prompt stands once for all its responses. What a response's token sees is then in two places, its own response and the prompt, and so
is its attention: each place is a call of PyTorch's FlashAttention (Dao 2023, arXiv 2307.08691), and the two are put together by the
logarithms of their sums of exponentials, as in shared-prefix decoding (Juravsky et al. 2024, arXiv 2402.05099). The kernel's backward pass
takes the outputs and these logarithms of the whole, and so gives each place its exact part.

Shape suffixes: M tokens of all sequences, H query heads, G heads of keys and values, D size of a head.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel

from apo_bench.core.errors import ModelError
from apo_bench.models.ways import minds_length

PACKED = "packed"
"""The name that `transformers` knows this attention by."""
LARGEST_HEAD = 256
"""Of FlashAttention."""


class Plan(Protocol):
    """Who sees whom among packed tokens; it reaches the attention of each layer as the argument `plan` of the model's `forward`."""

    def attend(self, layer: int, query_MHD: Tensor, key_MGD: Tensor, value_MGD: Tensor, scale: float) -> Tensor:
        """What each token's attention makes of what it sees: [M, H, D]."""
        ...


@dataclass(frozen=True)
class Spans:
    """Spans of queries, each of which sees a span of keys of its own."""

    queries: Tensor
    """[number of spans + 1] int32: where each begins, and where the last ends."""
    keys: Tensor
    longest_query: int
    longest_key: int
    keys_used: Tensor | None = None
    """[number of spans] int32: how many keys of each are there already, where they are still being written; null: all."""


@dataclass(frozen=True)
class Packing:
    """Whole sequences (`prompts` null), or all prompts and behind them all responses to them in the same order.

    A span of `own` is a sequence, or a prompt or a response, whose tokens see those before them. A span of `prompts` is all responses to a
    prompt, which see all of it.
    """

    own: Spans
    prompts: Spans | None = None
    num_prompt_tokens: int = 0

    def attend(self, layer: int, query_MHD: Tensor, key_MGD: Tensor, value_MGD: Tensor, scale: float) -> Tensor:
        """See `Plan`; differentiable."""
        out_MHD: Tensor = _PackedAttention.apply(query_MHD, key_MGD, value_MGD, self, scale)
        return out_MHD


def sent(packing: Packing, device: torch.device) -> Packing:
    """The packing with its spans on a device."""

    def on_device(spans: Spans) -> Spans:
        return replace(spans, queries=spans.queries.to(device, non_blocking=True), keys=spans.keys.to(device, non_blocking=True))

    return replace(packing, own=on_device(packing.own), prompts=packing.prompts and on_device(packing.prompts))


def can_be_packed(model: PreTrainedModel) -> bool:
    """Whether the model's attention goes by what `Plan` says alone: no windows, no caps, positions given, heads that the kernel takes."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None)
    if not isinstance(heads, int):
        return False
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    caps = ("sliding_window", "attn_logit_softcapping", "attention_chunk_size", "alibi")
    plain = not any(getattr(config, name, None) for name in caps) and not model._is_stateful and not minds_length(config)
    return bool(model._supports_attention_backend and model._supports_flash_attn and plain and head % 8 == 0 and head <= LARGEST_HEAD)


def attend(query_MHD: Tensor, key_MGD: Tensor, value_MGD: Tensor, spans: Spans, is_causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    """FlashAttention of spans: outputs [M, H, D] and logarithms of the sums of exponentials [H, M], float32."""
    out_MHD, sums_HM, *_ = torch.ops.aten._flash_attention_forward(
        query_MHD,
        key_MGD,
        value_MGD,
        spans.queries,
        spans.keys,
        spans.longest_query,
        spans.longest_key,
        0.0,
        is_causal,
        False,
        scale=scale,
        seqused_k=spans.keys_used,
    )
    return out_MHD, sums_HM


def attend_backward(
    grad_MHD: Tensor,
    query_MHD: Tensor,
    key_MGD: Tensor,
    value_MGD: Tensor,
    out_MHD: Tensor,
    sums_HM: Tensor,
    spans: Spans,
    is_causal: bool,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of queries, keys and values of `attend`, or of its part of an attention with these outputs and sums."""
    no_dropout = torch.zeros(2, dtype=torch.uint64, device=grad_MHD.device)
    grads: tuple[Tensor, Tensor, Tensor] = torch.ops.aten._flash_attention_backward(
        grad_MHD.contiguous(),
        query_MHD,
        key_MGD,
        value_MGD,
        out_MHD,
        sums_HM,
        spans.queries,
        spans.keys,
        spans.longest_query,
        spans.longest_key,
        0.0,
        is_causal,
        no_dropout,
        no_dropout,
        scale=scale,
    )
    return grads


def put_together(one_MHD: Tensor, sums_HM: Tensor, other_MHD: Tensor, other_sums_HM: Tensor) -> tuple[Tensor, Tensor]:
    """The attention over two sets of keys, from the attention over each and the logarithms of their sums of exponentials."""
    both_HM = torch.logaddexp(sums_HM, other_sums_HM)
    weight_MH1 = (sums_HM - both_HM).exp().T[:, :, None]
    return torch.lerp(other_MHD.float(), one_MHD.float(), weight_MH1).to(one_MHD.dtype), both_HM


class _PackedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query_MHD: Tensor, key_MGD: Tensor, value_MGD: Tensor, packing: Packing, scale: float) -> Tensor:
        out_MHD, sums_HM = attend(query_MHD, key_MGD, value_MGD, packing.own, True, scale)
        if packing.prompts:
            cut = packing.num_prompt_tokens
            seen_MHD, seen_HM = attend(query_MHD[cut:], key_MGD[:cut], value_MGD[:cut], packing.prompts, False, scale)
            out_MHD[cut:], sums_HM[:, cut:] = put_together(out_MHD[cut:], sums_HM[:, cut:], seen_MHD, seen_HM)
        ctx.save_for_backward(query_MHD, key_MGD, value_MGD, out_MHD, sums_HM)
        ctx.packing, ctx.scale = packing, scale
        return out_MHD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        [grad_MHD] = grads
        query_MHD, key_MGD, value_MGD, out_MHD, sums_HM = ctx.saved_tensors
        packing, scale = ctx.packing, ctx.scale
        query, key, value = attend_backward(grad_MHD, query_MHD, key_MGD, value_MGD, out_MHD, sums_HM, packing.own, True, scale)
        if packing.prompts:
            cut = packing.num_prompt_tokens
            seen = (query_MHD[cut:], key_MGD[:cut], value_MGD[:cut], out_MHD[cut:], sums_HM[:, cut:].contiguous())
            more_query, more_key, more_value = attend_backward(grad_MHD[cut:], *seen, packing.prompts, False, scale)
            query[cut:] += more_query
            key[:cut] += more_key
            value[:cut] += more_value
        return query, key, value, None, None


def _packed_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float | None = None, **kwargs: Any
) -> tuple[Tensor, None]:
    """As `transformers` calls it: one row of tokens, [1, heads, M, D] each."""
    plan = kwargs.get("plan")
    if plan is None or len(query) != 1:
        raise ModelError(f"{type(module).__name__} keeps what its attention needs to itself, so its sequences cannot be packed")
    if torch.is_autocast_enabled(query.device.type):
        query, key, value = (states.to(torch.get_autocast_dtype(query.device.type)) for states in (query, key, value))
    states = (heads[0].transpose(0, 1) for heads in (query, key, value))
    return plan.attend(module.layer_idx, *states, module.scaling if scaling is None else scaling)[None], None


AttentionInterface.register(PACKED, _packed_attention)
