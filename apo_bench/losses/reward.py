"""Losses of reward models. Shape suffixes: P pairs, G prompts with a golden response, K samples a prompt."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

PairLoss = Callable[[Tensor, Tensor], Tensor]
"""Maps rewards [P] of the preferred and of the other responses to the mean loss over the pairs."""


def bradley_terry_loss(chosen_P: Tensor, rejected_P: Tensor, weights_P: Tensor | None = None) -> Tensor:
    """Mean over pairs of -log sigmoid(r(chosen) - r(rejected)).

    Args:
        chosen_P: [P] float, rewards of the preferred responses.
        rejected_P: [P] float, rewards of the others.
        weights_P: [P] float, what each pair counts, at least 0; 1 if not given. The sum is divided by the number of pairs, so that a
            batch of pairs that weigh more counts for more.

    Returns:
        Scalar, in nats; log 2 if the rewards are equal.

    Source: Bradley & Terry 1952; Cheng et al. 2024 (APO), Eq. 2.
    Departures: none.
    """
    logs_P = F.logsigmoid(chosen_P - rejected_P)
    return -(logs_P if weights_P is None else weights_P * logs_P).mean()


def difference_loss(chosen_P: Tensor, rejected_P: Tensor) -> Tensor:
    """Mean over pairs of r(rejected) - r(chosen), without a bound: the critic of a Wasserstein GAN.

    Args:
        chosen_P: [P] float, rewards of the preferred responses.
        rejected_P: [P] float, rewards of the others.

    Returns:
        Scalar; 0 if the rewards are equal.

    Source: Arjovsky et al. 2017 (WGAN), Eq. 2; Cheng et al. 2024 (APO), the game itself, of which the Bradley-Terry loss is their stand-in.
    Departures: none; as theirs the critic is not clipped, the human pairs have to hold it.
    """
    return (rejected_P - chosen_P).mean()


def adversarial_reward_loss(
    chosen_P: Tensor,
    rejected_P: Tensor,
    golden_G: Tensor,
    samples_GK: Tensor,
    human_weight: float,
    adversarial_weight: float,
    game_loss: PairLoss = bradley_terry_loss,
    human_loss: PairLoss = bradley_terry_loss,
) -> Tensor:
    """L_APO-RM = lambda L_BT(human pairs) + (alpha / n) L(golden over policy samples), n = K samples a prompt.

    A term without pairs is left out: in a step whose turn no golden response is, and in the ablations that train on one term alone.

    Args:
        chosen_P: [P] float, rewards of the responses that humans preferred.
        rejected_P: [P] float, rewards of the others.
        golden_G: [G] float, rewards of the golden responses.
        samples_GK: [G, K] float, rewards of the policy's samples for the same prompts.
        human_weight: lambda, at least 0.
        adversarial_weight: alpha, at least 0.
        game_loss: L, of pairs; `bradley_terry_loss` is APO's, `difference_loss` that of its WGAN ablation.
        human_loss: in the place of L_BT.

    Returns:
        Scalar, in nats.

    Source: Cheng et al. 2024 (APO), the RM step; their code uses lambda = 1, alpha = 0.1, n = 4.
    Departures: each term is the mean over its own pairs; the published code divides each by all pairs of the batch. There, with H human
        pairs and G golden responses in an epoch, the game weighs G n / H times as much beside the human pairs: an adversarial_weight of
        alpha G n / H here is alpha there (docs/reward-models.md).
    """
    terms = []
    if len(chosen_P):
        terms.append(human_weight * human_loss(chosen_P, rejected_P))
    if len(golden_G):
        game = game_loss(golden_G[:, None].expand_as(samples_GK).flatten(), samples_GK.flatten())
        terms.append(adversarial_weight / samples_GK.shape[1] * game)
    return torch.stack(terms).sum()
