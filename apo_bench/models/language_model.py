"""Causal language models of `transformers`: made, loaded, saved, and asked for log-probabilities.

Shape suffixes: N sequences, R rows, T tokens, M predicted tokens of all sequences in a row, H hidden size, V vocabulary.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import accelerate.utils.other as accelerate_models
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint
from tqdm import tqdm
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from apo_bench.config.compute_sections import Compute
from apo_bench.config.sections import Sampling, ScratchModel
from apo_bench.core.errors import MissingInputError
from apo_bench.core.ranks import add_up, num_ranks, rank
from apo_bench.losses.sequence import sum_by_sequence, token_logps
from apo_bench.models.batching import PACK, TokenBatch, TokenSequence, inference_batches, pad
from apo_bench.models.card import Card, write_card
from apo_bench.models.loading import WHOLE, check_finite, check_generation, check_whole, loading
from apo_bench.models.packed_attention import PACKED, can_be_packed, sent
from apo_bench.models.precision import attention, check_device, fuse_kernels, mixed_precision, reduced_dtype, share_memory
from apo_bench.models.ways import evaluating, length_limit, logits_of, made_up, prompt_mask, same, vocabulary_size, ways_of

TOKENS_A_BATCH = {"cpu": 2**11, "cuda": 2**16}
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
        ModelError: it cannot be loaded or is not whole, or the device is not there.
    """
    check_model_there(path)
    dtype = torch.float32 if for_training else reduced_dtype(compute)
    with loading(path, "the model"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation=attention(compute), **WHOLE)
        model, found = cast(tuple[PreTrainedModel, dict[str, Any]], loaded)
        check_whole(path, model, found)
        check_generation(path, model)
        model = ready(model, compute)
        check_finite(path, model)
    return model


def ready(model: PreTrainedModel, compute: Compute) -> PreTrainedModel:
    """The model on its device; on a GPU, in bfloat16, with packed sequences and fused kernels where it can have them.

    Raises:
        ModelError: the device is not there, or the kernels are not installed.
    """
    check_device(compute)
    share_memory(compute)
    model = cast(PreTrainedModel, cast(nn.Module, model).to(compute.device))
    ways_of(model)
    if compute.device == "cuda" and reduced_dtype(compute) is torch.bfloat16:
        fuse_kernels(model)
        if can_be_packed(model) and ways_of(model).shared_prompts:
            _pack(model, compute)
    return model


def _pack(model: PreTrainedModel, compute: Compute) -> None:
    """Gives the model packed attention, unless that changes what it makes of a few sequences."""
    prompt, *responses = made_up(model)
    sequences = [TokenSequence(prompt + response, len(prompt)) for response in responses]
    plain = model.config._attn_implementation
    with evaluating(model), mixed_precision(compute):
        expected = response_states(model, pad(sequences, 0, 0))[0]
        model.set_attn_implementation(PACKED)
        try:
            found = response_states(model, pad(sequences, 0, PACK))[0]
        except Exception:  # a layer that hands its attention less than it needs
            found = expected[:0]
    if not same(found, expected, torch.bfloat16):
        model.set_attn_implementation(plain)


def check_model_there(path: Path) -> None:
    """Raises MissingInputError if no model was saved in the folder."""
    if not (Path(path) / "config.json").is_file():
        raise MissingInputError(f"{path}: no model there; run the stage that writes it (dvc repro) first")


def sample_as_trained(model: PreTrainedModel, settings: Sampling) -> None:
    """Gives the model these sampling settings for its own: what `generate`, pipelines and vLLM's server draw with if nobody says more."""
    found = settings.model_dump(exclude={"num_samples"})
    model.generation_config = GenerationConfig(
        do_sample=True, eos_token_id=model.config.eos_token_id, pad_token_id=model.config.pad_token_id, **found
    )


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, path: Path, card: Card | None = None) -> None:
    """Saves weights (safetensors), configuration, tokenizer and model card so that `from_pretrained`, vLLM and the hub take the folder."""
    # transformers asks Accelerate what is wrapped around the model (nothing is), and Accelerate imports DeepSpeed, if installed: 2 s.
    with patch.object(accelerate_models, "is_deepspeed_available", return_value=False):
        model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    if card is not None:
        write_card(card, path)
    mode = 0o666 & ~_umask()
    for file in path.iterdir():
        file.chmod(mode)  # safetensors leaves its files to their owner alone


def _umask() -> int:
    found = os.umask(0)  # it can be read only by setting it
    os.umask(found)
    return found


def pairs_a_token(model: PreTrainedModel) -> float:
    """The pairs of tokens between which attention computes in the time that the rest of the model takes for a token, about; 0 if
    several responses cannot stand behind one prompt; `PACK` where they need no mask."""
    if model.config._attn_implementation == PACKED:
        return PACK
    return float(model.config.get_text_config().hidden_size) if ways_of(model).shared_prompts else 0.0


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device, without waiting for what the device still has to do."""
    return tensor.to(device, non_blocking=True)


def final_states(model: PreTrainedModel, batch: TokenBatch) -> Tensor:
    """Final hidden states of all positions: [R, T, H]."""
    return _everywhere(model, batch, lambda **inputs: model.base_model(**inputs).last_hidden_state)


def _everywhere(model: PreTrainedModel, batch: TokenBatch, values: Callable[..., Tensor]) -> Tensor:
    """What `values` makes of a batch, as the model takes it: [R, T, ...]; row by row where rows side by side are not the same."""
    inputs: dict[str, Any] = {"input_ids": send(batch.input_ids_RT, model.device), "use_cache": False}
    if batch.packing:
        positions_RT, plan = send(cast(Tensor, batch.positions_RT), model.device), sent(batch.packing, model.device)
        return values(**inputs, position_ids=positions_RT, plan=plan)
    if batch.segments_RT is not None:
        segments_RT, positions_RT = send(batch.segments_RT, model.device), send(cast(Tensor, batch.positions_RT), model.device)
        return values(**inputs, position_ids=positions_RT, attention_mask=prompt_mask(segments_RT, model.dtype))
    num_rows, longest = batch.input_ids_RT.shape
    limit = length_limit(model.config)
    if num_rows == 1 or (ways_of(model).batches and (limit is None or longest <= limit)):
        return values(**inputs)
    rows = [
        values(input_ids=row[None, :length], use_cache=False)[0] for row, length in zip(inputs["input_ids"], batch.lengths_N, strict=True)
    ]
    return pad_sequence(rows, batch_first=True)


def response_states(model: PreTrainedModel, batch: TokenBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Final hidden states where a response token is predicted, and only there; logits where the model does not come apart at its head.

    Returns:
        States [M, H], or logits [M, V], before each response token, these tokens [M], and the sequence each belongs to [M].
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
    states_RTH = (
        final_states(model, batch) if ways_of(model).head_apart else _everywhere(model, batch, lambda **inputs: model(**inputs).logits)
    )
    return states_RTH.flatten(0, 1).index_select(0, before_M), targets_M, sequences_M


def response_logits(model: PreTrainedModel, states_CH: Tensor) -> Tensor:
    """The model's own logits [C, V] of what `response_states` gives."""
    return logits_of(model, states_CH) if ways_of(model).head_apart else states_CH


def by_chunks(values: Callable[..., Tensor], vocabulary: int, *tensors_M: Tensor) -> Tensor:
    """`values` of M tokens, a chunk of tokens at a time where their logits are too many; recomputed chunk by chunk for the gradient."""
    size = max(1, LOGITS_AT_ONCE[tensors_M[0].device.type] // vocabulary)
    if len(tensors_M[0]) <= size:
        return values(*tensors_M)
    chunks = zip(*(tensor_M.split(size) for tensor_M in tensors_M), strict=True)
    return torch.cat([checkpoint(values, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks])


def response_logps(model: PreTrainedModel, batch: TokenBatch) -> Tensor:
    """Log-probability of each response given its prompt, summed over its tokens, in nats: [N], differentiable."""
    states_MH, targets_M, sequences_M = response_states(model, batch)

    def logps(states_CH: Tensor, targets_C: Tensor) -> Tensor:
        return token_logps(response_logits(model, states_CH), targets_C)

    logps_M = by_chunks(logps, vocabulary_size(model), states_MH, targets_M)
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
