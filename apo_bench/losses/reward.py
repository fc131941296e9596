"""Losses of reward models. Shape suffixes: P pairs, G prompts with a golden response, K samples a prompt."""

import torch.nn.functional as F
from torch import Tensor


def bradley_terry_loss(chosen_P: Tensor, rejected_P: Tensor) -> Tensor:
    """Mean over pairs of -log sigmoid(r(chosen) - r(rejected)).

    Args:
        chosen_P: [P] float, rewards of the preferred responses.
        rejected_P: [P] float, rewards of the others.

    Returns:
        Scalar, in nats; log 2 if the rewards are equal.

    Source: Bradley & Terry 1952; Cheng et al. 2024 (APO), Eq. 2.
    Departures: none.
    """
    return -F.logsigmoid(chosen_P - rejected_P).mean()


def adversarial_reward_loss(
    chosen_P: Tensor, rejected_P: Tensor, golden_G: Tensor, samples_GK: Tensor, human_weight: float, adversarial_weight: float
) -> Tensor:
    """L_APO-RM = lambda L_BT(human pairs) + (alpha / n) L_BT(golden over policy samples), n = K samples a prompt.

    Args:
        chosen_P: [P] float, rewards of the responses that humans preferred.
        rejected_P: [P] float, rewards of the others.
        golden_G: [G] float, rewards of the golden responses.
        samples_GK: [G, K] float, rewards of the policy's samples for the same prompts.
        human_weight: lambda, at least 0.
        adversarial_weight: alpha, at least 0.

    Returns:
        Scalar, in nats.

    Source: Cheng et al. 2024 (APO), the RM step; their code uses lambda = 1, alpha = 0.1, n = 4.
    Departures: each term is the mean over its own pairs; the published code divides each by all pairs of the batch.
    """
    human = bradley_terry_loss(chosen_P, rejected_P)
    game = bradley_terry_loss(golden_G[:, None].expand_as(samples_GK).flatten(), samples_GK.flatten())
    return human_weight * human + adversarial_weight / samples_GK.shape[1] * game
