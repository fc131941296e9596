"""Causal language models of `transformers`: made, loaded, saved, and asked for log-probabilities.

Shape suffixes: N sequences, T tokens, M predicted tokens of all sequences in a row, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from apo_bench.core.config import ScratchModel
from apo_bench.core.errors import MissingInputError
from apo_bench.data.batching import TokenBatch, inference_batches, pad
from apo_bench.losses.sequence import sum_by_sequence, token_logps
from apo_bench.models.tokenizer import TokenSequence

TOKENS_A_BATCH = 8192
"""Tokens of a batch in inference: enough to keep the matrix units busy, small enough for the memory of a small machine."""


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


def load_language_model(path: Path) -> PreTrainedModel:
    """The model saved in a folder, from safetensors only.

    Raises:
        MissingInputError: there is none.
    """
    if not (Path(path) / "config.json").is_file():
        raise MissingInputError(f"{path}: no model there; run the stage that writes it (dvc repro) first")
    return AutoModelForCausalLM.from_pretrained(path, use_safetensors=True, dtype=torch.float32)


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, path: Path) -> None:
    """Saves weights (safetensors), configuration and tokenizer so that `from_pretrained` loads them."""
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)


def response_logits(model: PreTrainedModel, batch: TokenBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Logits where a response token is predicted, and only there.

    Returns:
        Logits [M, V] before each response token, these tokens [M], and the sequence each belongs to [M].
    """
    positions_T = torch.arange(batch.input_ids_NT.shape[1])
    is_response_NT = (positions_T >= batch.prompt_lengths_N[:, None]) & (positions_T < batch.lengths_N[:, None])
    is_response_NT[:, 0] = False  # nothing stands before the first token that could predict it
    hidden = model.base_model(input_ids=batch.input_ids_NT, use_cache=False).last_hidden_state
    logits_MV = model.get_output_embeddings()(hidden[:, :-1][is_response_NT[:, 1:]])
    return logits_MV, batch.input_ids_NT[is_response_NT], is_response_NT.nonzero()[:, 0]


def response_logps(model: PreTrainedModel, batch: TokenBatch) -> Tensor:
    """Log-probability of each response given its prompt, summed over its tokens, in nats: [N], differentiable."""
    logits_MV, targets_M, rows_M = response_logits(model, batch)
    return sum_by_sequence(token_logps(logits_MV, targets_M), rows_M, len(batch.lengths_N))


@torch.no_grad()
def all_response_logps(model: PreTrainedModel, sequences: Sequence[TokenSequence], pad_token_id: int, title: str) -> Tensor:
    """`response_logps` of any number of sequences, in their order: [N]."""
    model.eval()
    logps_N = torch.empty(len(sequences))
    for indices, batch in inference(sequences, pad_token_id, title):
        logps_N[indices] = response_logps(model, batch)
    return logps_N


def inference(sequences: Sequence[TokenSequence], pad_token_id: int, title: str) -> Iterator[tuple[list[int], TokenBatch]]:
    """Batches of like length with the indices of their sequences, behind a progress bar."""
    lengths = [len(sequence.ids) for sequence in sequences]
    with tqdm(total=len(sequences), desc=title, unit="sequence") as progress:
        for indices in inference_batches(lengths, TOKENS_A_BATCH):
            yield indices, pad([sequences[index] for index in indices], pad_token_id)
            progress.update(len(indices))
