"""Checks of a reward model's losses, on made-up rewards.

Shape suffixes: P pairs, N sequences, T tokens, H hidden.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from apo_bench.conformance.offered import lessons_of
from apo_bench.conformance.samples import close
from apo_bench.models.batching import TokenBatch
from apo_bench.models.reward_model import rewards
from apo_bench.models.ways import KNOWN, Ways
from apo_bench.reward_models.player import RewardModelPlayer

PAIRS = 6
"""Pairs of a step whose rewards are made up."""
FAR = 500.0
"""A margin at which exp overflows."""

Loss = Callable[..., Tensor]
"""Of rewards [P] of the preferred and of the other responses, and of which pairs they are if not of all in their order."""


def check_gradient(player: RewardModelPlayer) -> str | None:
    """A step raises what is preferred and lowers what is not, whatever their rewards are."""
    for name, loss in _losses(player).items():
        chosen_P, rejected_P = _made_up()
        loss(chosen_P, rejected_P).backward()
        rise_P, fall_P = cast(Tensor, chosen_P.grad), cast(Tensor, rejected_P.grad)
        if not (rise_P < 0).all() or not (fall_P > 0).all():
            return f"{name}: a step does not raise every preferred response and lower every other one; is the sign flipped?"
    return None


def check_order(player: RewardModelPlayer) -> str | None:
    """The order of the pairs changes nothing, nor does a number that is added to all rewards."""
    places = [3, 0, 5, 1, 4, 2]
    for name, loss in _losses(player).items():
        chosen_P, rejected_P = _made_up()
        value = loss(chosen_P, rejected_P)
        if not close(loss(chosen_P[places], rejected_P[places], places), value):
            return f"{name}: the order of the pairs changes the loss"
        if not close(loss(chosen_P + 7, rejected_P + 7), value):
            return f"{name}: 7 more for every response changes the loss; only differences of rewards mean something"
    return None


def check_ties(player: RewardModelPlayer) -> str | None:
    """Where rewards are equal the loss is finite and parts them, by as much up as down."""
    for name, loss in _losses(player).items():
        chosen_P, rejected_P = (torch.ones(PAIRS, dtype=torch.float64, requires_grad=True) for _ in range(2))
        value = loss(chosen_P, rejected_P)
        value.backward()
        assert chosen_P.grad is not None and rejected_P.grad is not None
        if not torch.isfinite(value) or not (chosen_P.grad < 0).all() or not close(-chosen_P.grad, rejected_P.grad):
            return f"{name}: equal rewards are not parted, by as much up as down"
    return None


def check_extremes(player: RewardModelPlayer) -> str | None:
    """Rewards far apart, either way round, leave loss and gradient finite."""
    for name, loss in _losses(player).items():
        for sign in (1, -1):
            chosen_P = torch.full((PAIRS,), sign * FAR, requires_grad=True)
            value = loss(chosen_P, -chosen_P.detach())
            value.backward()
            if not torch.isfinite(value) or not torch.isfinite(cast(Tensor, chosen_P.grad)).all():
                return f"{name}: not finite where rewards are {2 * FAR:g} apart: take logsigmoid, not the log of a sigmoid"
    return None


def check_accumulation(player: RewardModelPlayer) -> str | None:
    """A batch in halves gives the mean of the halves, so that micro-batches and ranks train the same."""
    for name, loss in _losses(player).items():
        chosen_P, rejected_P = _made_up()
        halves = [list(range(PAIRS // 2)), list(range(PAIRS // 2, PAIRS))]
        parts = [loss(chosen_P[half], rejected_P[half], half) for half in halves]
        if not close((parts[0] + parts[1]) / 2, loss(chosen_P, rejected_P)):
            return f"{name}: the mean over two halves of a batch is not the loss of the batch; do pairs of a batch mix?"
    return None


def check_padding(player: RewardModelPlayer) -> str | None:
    """By the function that training reads rewards with: what stands after a response changes no loss and gets no gradient."""
    generator = torch.Generator().manual_seed(0)
    num, longest, hidden = 2 * PAIRS, 9, 5
    lengths_N = torch.tensor([longest - row % 3 for row in range(num)])
    starts_N = torch.arange(num) * longest
    batch = TokenBatch(torch.zeros(num, longest, dtype=torch.long), torch.full((num,), 3), lengths_N, starts_N, starts_N + 3)
    states_NTH = torch.randn(num, longest, hidden, generator=generator)
    after_NT = torch.arange(longest) >= lengths_N[:, None]
    for name, loss in _losses(player).items():
        values = []
        for noise in (0.0, 5.0):
            leaves_NTH = (states_NTH + noise * after_NT[..., None]).requires_grad_()
            rewards_P2 = rewards(cast(PreTrainedModel, _Table(leaves_NTH)), batch).view(-1, 2)
            values.append(loss(rewards_P2[:, 0], rewards_P2[:, 1]))
            values[-1].backward()
            if cast(Tensor, leaves_NTH.grad)[after_NT].any():
                return f"{name}: padding gets a gradient"
        if not close(*(value.detach() for value in values)):
            return f"{name}: padding changes the loss"
    return None


class _Table(nn.Module):
    """A "reward model" whose final states are leaves."""

    def __init__(self, states_NTH: Tensor) -> None:
        super().__init__()
        self.states_NTH, self.device = states_NTH, torch.device("cpu")
        self.score = nn.Linear(states_NTH.shape[-1], 1, bias=False)
        nn.init.ones_(self.score.weight)
        self.config = PreTrainedConfig.from_dict({"vocab_size": 2})
        vars(self)[KNOWN] = Ways(head_apart=True, shared_prompts=False, batches=True)

    def base_model(self, input_ids: Tensor, use_cache: bool) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=self.states_NTH)


def _losses(player: RewardModelPlayer) -> dict[str, Loss]:
    """The losses that it trains by, those of terms without weight left out; pairs weigh what six of its own do, if they weigh anything."""
    lessons = lessons_of(player)[1]
    weights_P = torch.tensor(lessons.weights[:: max(1, len(lessons.weights) // PAIRS)][:PAIRS], dtype=torch.float64)

    def human(chosen_P: Tensor, rejected_P: Tensor, which: list[int] | None = None) -> Tensor:
        return player.human_loss(chosen_P, rejected_P, weights_P[which or list(range(PAIRS))] if len(weights_P) else None)

    def game(golden_P: Tensor, sampled_P: Tensor, which: list[int] | None = None) -> Tensor:
        return player.game_loss(golden_P, sampled_P)

    terms = {"human_loss": (human, player.human_weight), "game_loss": (game, player.game_weight)}
    return {name: loss for name, (loss, weight) in terms.items() if weight}


def _made_up() -> tuple[Tensor, Tensor]:
    """Rewards of preferred and other responses, some the wrong way round: [P] each."""
    generator = torch.Generator().manual_seed(0)
    chosen_P, rejected_P = (torch.randn(PAIRS, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2))
    return chosen_P, rejected_P
