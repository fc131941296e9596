"""Causal language models of `transformers`: made, loaded, saved, and asked for log-probabilities.

Shape suffixes: N sequences, T tokens, M predicted tokens of all sequences in a row, H hidden size, V vocabulary.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from tqdm import tqdm
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from apo_bench.core.errors import MissingInputError
from apo_bench.core.ranks import add_up, num_ranks, rank
from apo_bench.core.sections import Compute, ScratchModel
from apo_bench.data.batching import TokenBatch, inference_batches, pad
from apo_bench.losses.sequence import sum_by_sequence, token_logps
from apo_bench.models.precision import attention, check_device, reduced_dtype
from apo_bench.models.tokenizer import TokenSequence

TOKENS_A_BATCH = 8192
"""Tokens of a batch in inference: enough to keep the matrix units busy, small enough for the memory of a small machine."""
LOGITS_AT_ONCE = 2**25
"""Logits (tokens times vocabulary) that are held at a time, 128 MiB: with a large vocabulary they would outweigh all else."""


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
    check_device(compute)
    dtype = torch.float32 if for_training else reduced_dtype(compute)
    model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(
        path, use_safetensors=True, dtype=dtype, attn_implementation=attention(compute)
    )
    return cast(PreTrainedModel, model.to(compute.device))


def check_model_there(path: Path) -> None:
    """Raises MissingInputError if no model was saved in the folder."""
    if not (Path(path) / "config.json").is_file():
        raise MissingInputError(f"{path}: no model there; run the stage that writes it (dvc repro) first")


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, path: Path) -> None:
    """Saves weights (safetensors), configuration and tokenizer so that `from_pretrained` loads them."""
    os.environ.setdefault("DS_ACCELERATOR", model.device.type)  # here DeepSpeed is imported, if installed, and would tell what it guesses
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)


def response_states(model: PreTrainedModel, batch: TokenBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Final hidden states where a response token is predicted, and only there.

    Returns:
        States [M, H] before each response token, these tokens [M], and the sequence each belongs to [M].
    """
    batch = batch.to(model.device)
    positions_T = torch.arange(batch.input_ids_NT.shape[1], device=model.device)
    is_response_NT = (positions_T >= batch.prompt_lengths_N[:, None]) & (positions_T < batch.lengths_N[:, None])
    is_response_NT[:, 0] = False  # nothing stands before the first token that could predict it
    hidden_NTH = model.base_model(input_ids=batch.input_ids_NT, use_cache=False).last_hidden_state
    return hidden_NTH[:, :-1][is_response_NT[:, 1:]], batch.input_ids_NT[is_response_NT], is_response_NT.nonzero()[:, 0]


def by_chunks(values: Callable[..., Tensor], vocabulary: int, *tensors_M: Tensor) -> Tensor:
    """`values` of M tokens, a chunk of tokens at a time where their logits are too many; recomputed chunk by chunk for the gradient."""
    size = max(1, LOGITS_AT_ONCE // vocabulary)
    if len(tensors_M[0]) <= size:
        return values(*tensors_M)
    chunks = zip(*(tensor_M.split(size) for tensor_M in tensors_M), strict=True)
    return torch.cat([checkpoint(values, *chunk, use_reentrant=False) for chunk in chunks])


def response_logps(model: PreTrainedModel, batch: TokenBatch) -> Tensor:
    """Log-probability of each response given its prompt, summed over its tokens, in nats: [N], differentiable."""
    head: nn.Module = model.get_output_embeddings()
    states_MH, targets_M, rows_M = response_states(model, batch)
    logps_M = by_chunks(lambda states_CH, targets_C: token_logps(head(states_CH), targets_C), model.config.vocab_size, states_MH, targets_M)
    return sum_by_sequence(logps_M, rows_M, len(batch.lengths_N))


@torch.no_grad()
def all_response_logps(model: PreTrainedModel, sequences: Sequence[TokenSequence], pad_token_id: int, title: str) -> Tensor:
    """`response_logps` of any number of sequences, in their order, computed by all ranks: [N]."""
    model.eval()
    logps_N = torch.zeros(len(sequences))
    for indices, batch in inference(sequences, pad_token_id, title):
        logps_N[indices] = response_logps(model, batch).cpu()
    return add_up(logps_N)


def inference(sequences: Sequence[TokenSequence], pad_token_id: int, title: str) -> Iterator[tuple[list[int], TokenBatch]]:
    """This rank's batches of like length with the indices of their sequences, behind a progress bar."""
    lengths = [len(sequence.ids) for sequence in sequences]
    at_once = TOKENS_A_BATCH if num_ranks() == 1 else min(TOKENS_A_BATCH, -(-sum(lengths) // num_ranks()))  # work for every rank
    batches = list(inference_batches(lengths, at_once))[rank() :: num_ranks()]
    with tqdm(total=sum(map(len, batches)), desc=title, unit="sequence") as progress:
        for indices in batches:
            yield indices, pad([sequences[index] for index in indices], pad_token_id)
            progress.update(len(indices))
