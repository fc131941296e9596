"""Weights in bfloat16 while they are trained, beside the float32 ones that change."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from apo_bench.engines.training import InProcessRun
from apo_bench.models.precision import ReducedWeights


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.fixed, self.score = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False), nn.Linear(4, 1, bias=False)
        self.fixed.requires_grad_(False)

    def forward(self, inputs):
        return self.score(self.fixed(self.body(inputs)).float())


def test_types_and_restoring():
    torch.manual_seed(0)
    model = Toy()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    weights = ReducedWeights(model)
    types = {name: weight.dtype for name, weight in model.named_parameters()}
    assert types == {"body.weight": torch.bfloat16, "fixed.weight": torch.bfloat16, "score.weight": torch.float32}
    assert weights.to_optimise[1:] == [model.score.weight] and weights.master.numel() == 16
    weights.restore()
    assert all(torch.equal(weight, before[name]) and weight.dtype is torch.float32 for name, weight in model.named_parameters())


def test_gradients_of_several_parts_add_up_in_float32():
    model = Toy()
    weights = ReducedWeights(model)
    for value in (1.0, 2.0**-10, 2.0**-10):
        model.body.weight.grad = torch.full((4, 4), value, dtype=torch.bfloat16)
        weights.collect_gradients()
        assert model.body.weight.grad is None
    assert torch.equal(weights.master.grad, torch.full((16,), 1 + 2.0**-9))  # bfloat16 would say 1


def test_steps_too_small_for_bfloat16_are_not_lost():
    torch.manual_seed(0)
    model = Toy()
    nn.init.ones_(model.body.weight)
    weights = ReducedWeights(model)
    optimizer = torch.optim.AdamW([*model.body.parameters(), *model.score.parameters()], lr=1e-4, weight_decay=0.0)
    inputs = torch.randn(8, 4).bfloat16()
    run = InProcessRun(lambda batch, step: (model(inputs).mean(), {}), optimizer, 1.0, nullcontext(), weights)
    for step in range(3):
        run.forward([0], step)
        run.backward(is_last=True)
        assert run.step(1e-4) > 0
    assert torch.equal(model.body.weight, torch.ones(4, 4).bfloat16())
    run.finish()
    moved = (model.body.weight - 1).abs()
    assert moved.dtype is torch.float32 and moved.max().item() == pytest.approx(3e-4, rel=0.05)


def four_steps(is_reduced: bool):
    """Losses and weights of a model of two layers under AdamW with clipping."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    weights = ReducedWeights(model) if is_reduced else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    inputs = torch.randn(32, 8, generator=torch.Generator().manual_seed(1)).to(model[0].weight.dtype)
    run = InProcessRun(lambda batch, step: (model(inputs).float().square().mean(), {}), optimizer, 0.1, nullcontext(), weights)
    losses = []
    for step in range(4):
        losses.append(run.forward([0], step)[0].item())
        run.backward(is_last=True)
        run.step(1e-2)
    run.finish()
    return losses, torch.cat([weight.detach().flatten() for weight in model.parameters()])


def test_steps_are_those_of_float32_up_to_rounding():
    losses, weights = four_steps(is_reduced=False)
    reduced_losses, reduced_weights = four_steps(is_reduced=True)
    assert losses[3] < losses[0] and reduced_losses == pytest.approx(losses, rel=0.02)
    assert torch.allclose(weights, reduced_weights, rtol=0, atol=5e-3)
