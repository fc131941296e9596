"""Causal language models of `transformers`: made, loaded, saved, and asked for log-probabilities.

Shape suffixes: N sequences, R rows, T tokens, M predicted tokens of all sequences in a row, H hidden size, V vocabulary.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from inspect import signature
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from tqdm import tqdm
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from apo_bench.core.compute_sections import Compute
from apo_bench.core.errors import MissingInputError
from apo_bench.core.ranks import add_up, num_ranks, rank
from apo_bench.core.sections import ScratchModel
from apo_bench.data.batching import PACK, TokenBatch, inference_batches, pad
from apo_bench.losses.sequence import sum_by_sequence, token_logps
from apo_bench.models.packed_attention import PACKED, can_be_packed, sent
from apo_bench.models.precision import attention, check_device, fuse_kernels, reduced_dtype, share_memory
from apo_bench.models.tokenizer import TokenSequence

TOKENS_A_BATCH = {"cpu": 2**13, "cuda": 2**16}
"""Tokens of a batch in inference: enough to keep the matrix units busy, small enough for the memory of a small machine."""
LOGITS_AT_ONCE = {"cpu": 2**25, "cuda": 2**30}
"""Logits (tokens times vocabulary) that are held at a time, 128 MiB or 4 GiB: with a large vocabulary they would outweigh all else."""


def new_llama(settings: ScratchModel, tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A Llama with random weights for the tokenizer; input and output embeddings are tied."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.num_layers,
        num_attention_heads=settings.num_heads,
        intermediate_size=settings.intermediate_size,
        max_position_embeddings=settings.max_length,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config)


def load_language_model(path: Path, compute: Compute, for_training: bool = False) -> PreTrainedModel:
    """The model saved in a folder, from safetensors only; in float32 for training, else in the reduced type.

    Raises:
        MissingInputError: there is none.
        ModelError: the device is not there.
    """
    check_model_there(path)
    dtype = torch.float32 if for_training else reduced_dtype(compute)
    model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(
        path, use_safetensors=True, dtype=dtype, attn_implementation=attention(compute)
    )
    return ready(cast(PreTrainedModel, model), compute)


def ready(model: PreTrainedModel, compute: Compute) -> PreTrainedModel:
    """The model on its device; on a GPU, in bfloat16, with packed sequences and fused kernels where it can have them.

    Raises:
        ModelError: the device is not there, or the kernels are not installed.
    """
    check_device(compute)
    share_memory(compute)
    model = cast(PreTrainedModel, cast(nn.Module, model).to(compute.device))
    if compute.device == "cuda" and reduced_dtype(compute) is torch.bfloat16:
        fuse_kernels(model)
        if can_be_packed(model):
            model.set_attn_implementation(PACKED)
    return model


def check_model_there(path: Path) -> None:
    """Raises MissingInputError if no model was saved in the folder."""
    if not (Path(path) / "config.json").is_file():
        raise MissingInputError(f"{path}: no model there; run the stage that writes it (dvc repro) first")


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, path: Path) -> None:
    """Saves weights (safetensors), configuration and tokenizer so that `from_pretrained` loads them."""
    os.environ.setdefault("DS_ACCELERATOR", model.device.type)  # here DeepSpeed is imported, if installed, and would tell what it guesses
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)


def pairs_a_token(model: PreTrainedModel) -> float:
    """The pairs of tokens between which attention computes in the time that the rest of the model takes for a token, about; 0 if
    several responses cannot stand behind one prompt, as attention goes by more than the mask or positions by more than `position_ids`;
    `PACK` where they need no mask."""
    if model.config._attn_implementation == PACKED:
        return PACK
    takes_positions = "position_ids" in signature(type(model.base_model).forward).parameters
    can_share = takes_positions and not model._is_stateful and getattr(model.config, "sliding_window", None) is None
    return model.config.hidden_size if can_share else 0


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device, without waiting for what the device still has to do."""
    return tensor.to(device, non_blocking=True)


def final_states(model: PreTrainedModel, batch: TokenBatch) -> Tensor:
    """Final hidden states of all positions: [R, T, H]."""
    input_ids_RT = send(batch.input_ids_RT, model.device)
    if batch.packing:
        positions_RT, plan = send(cast(Tensor, batch.positions_RT), model.device), sent(batch.packing, model.device)
        return model.base_model(input_ids=input_ids_RT, position_ids=positions_RT, plan=plan, use_cache=False).last_hidden_state
    if batch.segments_RT is None:
        return model.base_model(input_ids=input_ids_RT, use_cache=False).last_hidden_state
    # A token sees what stands before it in the prompt and in its own response. Four dimensions: transformers takes the mask as it is.
    segments_RT, positions_RT = send(batch.segments_RT, model.device), send(cast(Tensor, batch.positions_RT), model.device)
    seen_R1TT = (segments_RT[:, None, None, :] == 0) | (segments_RT[:, None, :, None] == segments_RT[:, None, None, :])
    hidden_R1TT = ~seen_R1TT.tril()
    mask_R1TT = torch.zeros(hidden_R1TT.shape, dtype=model.dtype, device=hidden_R1TT.device)
    mask_R1TT.masked_fill_(hidden_R1TT, torch.finfo(model.dtype).min)
    return model.base_model(input_ids=input_ids_RT, position_ids=positions_RT, attention_mask=mask_R1TT, use_cache=False).last_hidden_state


def response_states(model: PreTrainedModel, batch: TokenBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Final hidden states where a response token is predicted, and only there.

    Returns:
        States [M, H] before each response token, these tokens [M], and the sequence each belongs to [M].
    """
    num_tokens_N = batch.lengths_N - batch.prompt_lengths_N
    sequences_M = torch.arange(len(num_tokens_N)).repeat_interleave(num_tokens_N)
    offsets_M = torch.arange(len(sequences_M)) - (num_tokens_N.cumsum(0) - num_tokens_N)[sequences_M]
    at_M = batch.response_starts_N[sequences_M] + offsets_M
    before_M = torch.where(offsets_M > 0, at_M - 1, (batch.prompt_starts_N + batch.prompt_lengths_N)[sequences_M] - 1)
    is_predicted_M = (offsets_M > 0) | (batch.prompt_lengths_N[sequences_M] > 0)  # nothing stands before the very first token
    at_M, before_M, sequences_M = at_M[is_predicted_M], before_M[is_predicted_M], sequences_M[is_predicted_M]
    before_M, targets_M, sequences_M = (
        send(each_M, model.device) for each_M in (before_M, batch.input_ids_RT.flatten()[at_M], sequences_M)
    )
    return final_states(model, batch).flatten(0, 1).index_select(0, before_M), targets_M, sequences_M


def by_chunks(values: Callable[..., Tensor], vocabulary: int, *tensors_M: Tensor) -> Tensor:
    """`values` of M tokens, a chunk of tokens at a time where their logits are too many; recomputed chunk by chunk for the gradient."""
    size = max(1, LOGITS_AT_ONCE[tensors_M[0].device.type] // vocabulary)
    if len(tensors_M[0]) <= size:
        return values(*tensors_M)
    chunks = zip(*(tensor_M.split(size) for tensor_M in tensors_M), strict=True)
    return torch.cat([checkpoint(values, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks])


def response_logps(model: PreTrainedModel, batch: TokenBatch) -> Tensor:
    """Log-probability of each response given its prompt, summed over its tokens, in nats: [N], differentiable."""
    head: nn.Module = model.get_output_embeddings()
    states_MH, targets_M, sequences_M = response_states(model, batch)
    logps_M = by_chunks(lambda states_CH, targets_C: token_logps(head(states_CH), targets_C), model.config.vocab_size, states_MH, targets_M)
    return sum_by_sequence(logps_M, sequences_M, len(batch.lengths_N))


@torch.no_grad()
def all_response_logps(model: PreTrainedModel, sequences: Sequence[TokenSequence], pad_token_id: int, title: str) -> Tensor:
    """`response_logps` of any number of sequences, in their order, computed by all ranks: [N]."""
    model.eval()
    logps_N = torch.zeros(len(sequences))
    for indices, batch in inference(model, sequences, pad_token_id, title):
        logps_N[indices] = response_logps(model, batch).float().cpu()
    return add_up(logps_N)


def inference(
    model: PreTrainedModel, sequences: Sequence[TokenSequence], pad_token_id: int, title: str
) -> Iterator[tuple[list[int], TokenBatch]]:
    """This rank's batches of like length with the indices of their sequences, behind a progress bar; neighbours may share a prompt."""
    num_tokens, at_once = sum(len(sequence.ids) for sequence in sequences), TOKENS_A_BATCH[model.device.type]
    at_once = at_once if num_ranks() == 1 else min(at_once, -(-num_tokens // num_ranks()))  # work for every rank
    worth = pairs_a_token(model)
    batches = list(inference_batches(sequences, at_once, worth))[rank() :: num_ranks()]
    with tqdm(total=sum(map(len, batches)), desc=title, unit="sequence") as progress:
        for indices in batches:
            yield indices, pad([sequences[index] for index in indices], pad_token_id, worth)
            progress.update(len(indices))
