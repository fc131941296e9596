"""From tokens to the loss, by the functions that training uses: the response's tokens count, those of the prompt and of the padding do not.

Shape suffixes: N sequences, T tokens, V vocabulary.
"""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from apo_bench.conformance.samples import Samples, close, graded_rewards, num_samples, outcome
from apo_bench.methods.base import Method
from apo_bench.models.batching import TokenBatch
from apo_bench.models.language_model import response_logps
from apo_bench.models.ways import KNOWN, Ways

VOCABULARY, PROMPT, LONGEST = 7, 3, 9


class TokenTable(nn.Module):
    """A "language model" that predicts from the position alone: a row of logits for each position of each sequence, all leaves."""

    def __init__(self, logits_NTV: Tensor) -> None:
        super().__init__()
        self.base_model = _Positions(logits_NTV)
        self.config, self.device = PreTrainedConfig.from_dict({"vocab_size": VOCABULARY}), torch.device("cpu")
        vars(self)[KNOWN] = Ways(head_apart=True, shared_prompts=False, batches=True)

    @property
    def logits_NTV(self) -> Tensor:
        """The leaves."""
        return self.base_model.logits_NTV

    def forward(self, input_ids: Tensor, use_cache: bool) -> SimpleNamespace:
        """The hidden states are the logits."""
        return SimpleNamespace(logits=self.base_model(input_ids, use_cache).last_hidden_state)


class _Positions(nn.Module):
    def __init__(self, logits_NTV: Tensor) -> None:
        super().__init__()
        self.logits_NTV = nn.Parameter(logits_NTV)

    def forward(self, input_ids: Tensor, use_cache: bool) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=self.logits_NTV[:, : input_ids.shape[1]])


def check_tokens(method: Method) -> str | None:
    """Logits of prompt and padding positions have no gradient and, like the tokens there, no effect; those of the response have."""
    generator = torch.Generator().manual_seed(0)
    num = num_samples(method)
    logits_NTV = torch.randn(num, LONGEST, VOCABULARY, generator=generator)
    ids_NT = torch.randint(VOCABULARY, (num, LONGEST), generator=generator)
    lengths_N = torch.tensor([LONGEST - 1 - row % 3 for row in range(num)])
    prompts_N = torch.full((num,), PROMPT)
    starts_N = torch.arange(num) * LONGEST
    batch = TokenBatch(ids_NT, prompts_N, lengths_N, prompt_starts_N=starts_N, response_starts_N=starts_N + prompts_N)
    positions_T = torch.arange(LONGEST)
    outside_NT = (positions_T < PROMPT - 1) | (positions_T >= lengths_N[:, None] - 1)  # where no response token is predicted
    loss, gradient_NTV = _loss(method, logits_NTV, batch)
    if gradient_NTV[outside_NT].any():
        return "prompt tokens or padding get a gradient: take the softmax and the sum over the response's tokens only"
    other_NTV = torch.where(outside_NT[..., None], 5 * torch.randn(logits_NTV.shape, generator=generator), logits_NTV)
    is_prompt_NT, is_padding_NT = (positions_T < PROMPT).expand(num, -1), positions_T >= lengths_N[:, None]
    other_NT = torch.where(is_prompt_NT | is_padding_NT, (ids_NT + 1) % VOCABULARY, ids_NT)
    changed, _ = _loss(method, other_NTV, replace(batch, input_ids_RT=other_NT))
    if not close(changed, loss):
        return f"other prompt tokens or padding change the loss from {loss.item():.6g} to {changed.item():.6g}"
    return None if gradient_NTV[~outside_NT].any() else "the response's tokens get no gradient"


def _loss(method: Method, logits_NTV: Tensor, batch: TokenBatch) -> tuple[Tensor, Tensor]:
    """The loss of one prompt with N responses, of which the likelier have the lower rewards, and its gradient in the logits."""
    model = TokenTable(logits_NTV)
    logps_N = response_logps(cast(PreTrainedModel, model), batch)
    rewards_N = torch.empty(len(logps_N), dtype=torch.float64)
    rewards_N[logps_N.detach().argsort()] = graded_rewards(method)
    lengths_N = batch.lengths_N - batch.prompt_lengths_N
    samples = Samples(rewards_N[None], logps_N.detach()[None], lengths_N[None], logps_N.detach()[None] - 0.5, rewards_N[None].argmax(1))
    found = outcome(method, samples)
    logps_N.backward(found.gradient_BN[0].to(logps_N.dtype))
    assert model.logits_NTV.grad is not None
    return found.losses_B, model.logits_NTV.grad
