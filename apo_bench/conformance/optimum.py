"""A world that can be counted: one prompt, a few responses of one token, and where training on the reference's own samples ends.

The golden response, for a method that wants it, stands after the samples and is the best there is; `golden_tilt` draws it from a
distribution of its own.

The expected loss is a sum over all pairs of responses, each as often as the reference draws it, and over the two orders in which a reward
model with Bradley-Terry noise puts them: response i above j with probability sigmoid(r_i - r_j), the mean difference being r_i - r_j.

Shape suffixes: V responses there are, G groups that may be sampled, N responses of a group.
"""

import itertools

import torch
from torch import Tensor

from apo_bench.conformance.samples import candidates, shown
from apo_bench.methods.base import GOLDEN, Method, ResponseGroups

REFERENCE_LOGPS_V = torch.tensor([0.3, -0.2, 0.5, -0.6, 0.0], dtype=torch.float64).log_softmax(0)
TILT_V = torch.tensor([0.10, -0.15, 0.0, 0.15, -0.10], dtype=torch.float64)
"""Small, so that the optimum lies where a clipped ratio (PPO's 0.2) does not bind."""
STEPS, FIRST_RATE = 600, 0.02
TILT_TOLERANCE = 0.01
"""Of log pi / pi_ref, in nats; the tilts are up to 0.15."""
LEAST_GAIN = 0.05
"""Of the expected reward, as a share of the range of rewards, for a loss of which no more is known."""


def check_optimum(method: Method) -> str | None:
    """Training ends where the theory says, as far as the method claims one."""
    if method.optimum == "better":
        rewards_V = TILT_V * 20
        logps_V = _train(method, *_groups(method, rewards_V))
        gain = ((logps_V.exp() - REFERENCE_LOGPS_V.exp()) @ rewards_V / (rewards_V.max() - rewards_V.min())).item()
        return None if gain > LEAST_GAIN else f"training does not raise the expected reward: it gains {gain:.1%} of the rewards' range"
    rewards_V, expected_V = _theory(method)
    groups = _golden_groups(method) if method.optimum == "golden_tilt" else _noisy_pairs(rewards_V)
    ratios_V = _train(method, *groups) - REFERENCE_LOGPS_V
    if (ratios_V - expected_V).abs().max() < TILT_TOLERANCE:
        return None
    return f"training ends at log pi/pi_ref = {shown(ratios_V)}, the optimum ({method.optimum}) is {shown(expected_V)}"


def _theory(method: Method) -> tuple[Tensor, Tensor]:
    """The rewards of the responses, and log pi/pi_ref at the optimum that the method claims: [V] each."""
    beta = getattr(method.hyperparameters, "beta", 1.0)
    if method.optimum == "golden_tilt":  # golden responses are drawn from pi_ref exp(beta tilt)
        return TILT_V, (REFERENCE_LOGPS_V + TILT_V).log_softmax(0) - REFERENCE_LOGPS_V
    scale = {"best_of_two": 10.0, "reward_tilt": beta, "win_rate_tilt": 4 * beta}[method.optimum]  # P(y beats a sample) is about r / 4
    rewards_V = scale * TILT_V
    win_rates_V = torch.sigmoid(rewards_V[:, None] - rewards_V) @ REFERENCE_LOGPS_V.exp()
    tilt_V = {"best_of_two": (2 * win_rates_V).log(), "reward_tilt": rewards_V / beta, "win_rate_tilt": win_rates_V / beta}[method.optimum]
    return rewards_V, (REFERENCE_LOGPS_V + tilt_V).log_softmax(0) - REFERENCE_LOGPS_V


def _noisy_pairs(rewards_V: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All pairs in both orders: responses [G, 2], rewards [G, 2], probabilities [G]."""
    first, second = (side.flatten() for side in torch.meshgrid(torch.arange(len(rewards_V)), torch.arange(len(rewards_V)), indexing="ij"))
    difference_P = rewards_V[first] - rewards_V[second]
    size_P = torch.where(difference_P.abs() < 1e-9, 2.0, difference_P / torch.tanh(difference_P / 2))  # E[+-size] is the difference
    responses_P2, rewards_P2 = torch.stack([first, second], 1), torch.stack([size_P, -size_P], 1) / 2
    drawn_P = (REFERENCE_LOGPS_V[first] + REFERENCE_LOGPS_V[second]).exp()
    wins_P = torch.sigmoid(difference_P)
    return responses_P2.repeat(2, 1), torch.cat([rewards_P2, -rewards_P2]), torch.cat([drawn_P * wins_P, drawn_P * (1 - wins_P)])


def _groups(method: Method, rewards_V: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All groups of as many responses as the method needs, with their true rewards: [G, N], [G, N], [G]."""
    size = max(2, method.min_responses)
    count = len(rewards_V) if size <= 4 else 3  # of the responses, so that the groups can be counted
    responses_GN = torch.tensor(list(itertools.product(range(count), repeat=size)))
    probabilities_G = REFERENCE_LOGPS_V[responses_GN].sum(1).exp()
    if GOLDEN in method.origins:
        best_G1 = torch.full_like(responses_GN[:, :1], int(rewards_V.argmax()))
        responses_GN = torch.cat([responses_GN, best_G1], 1)
    return responses_GN, rewards_V[responses_GN], probabilities_G


def _golden_groups(method: Method) -> tuple[Tensor, Tensor, Tensor]:
    """All pairs of a sample and a golden response, and no rewards: responses [G, 2], zeros [G, 2], probabilities [G]."""
    golden_logps_V = (REFERENCE_LOGPS_V + getattr(method.hyperparameters, "beta", 1.0) * TILT_V).log_softmax(0)
    responses_G2 = torch.cartesian_prod(torch.arange(len(TILT_V)), torch.arange(len(TILT_V)))
    probabilities_G = (REFERENCE_LOGPS_V[responses_G2[:, 0]] + golden_logps_V[responses_G2[:, 1]]).exp()
    return responses_G2, torch.zeros_like(responses_G2, dtype=torch.float64), probabilities_G


def _train(method: Method, responses_GN: Tensor, rewards_GN: Tensor, probabilities_G: Tensor) -> Tensor:
    """The log-probabilities [V] that gradient descent on the expected loss ends at, from the reference on."""
    last = rewards_GN.shape[1] - 1
    selections = [method.select(candidates(method, rewards, golden=last)) for rewards in rewards_GN.tolist()]
    used = [number for number, selection in enumerate(selections) if selection is not None]
    selected_GK = torch.tensor([selections[number] for number in used])
    responses_GK, rewards_GK = responses_GN[used].gather(1, selected_GK), rewards_GN[used].gather(1, selected_GK)
    weights_G, lengths_GK = probabilities_G[used], torch.ones_like(responses_GK)
    reference_GK = REFERENCE_LOGPS_V[responses_GK] if method.needs_reference else None
    logits_V = REFERENCE_LOGPS_V.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits_V], lr=FIRST_RATE, betas=(0.9, 0.99), eps=1e-14)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        losses_G, _ = method.loss(ResponseGroups(logits_V.log_softmax(0)[responses_GK], lengths_GK, rewards_GK, reference_GK))
        optimizer.zero_grad()
        (losses_G * weights_G).sum().backward()
        optimizer.step()
        schedule.step()
    return logits_V.detach().log_softmax(0)
