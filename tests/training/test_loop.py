"""The training loop on a linear toy model: repeatable, each example once an epoch, the rate's warm-up and end, no silent NaN."""

import math

import pytest
import torch

from apo_bench.config.compute_sections import Compute
from apo_bench.core.errors import ModelError
from apo_bench.core.ranks import share
from apo_bench.engines.training import InProcess
from apo_bench.training.loop import train

INPUTS = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
COMPUTE = Compute(
    num_threads=1,
    deterministic=True,
    stages_per_gpu=1,
    device="cpu",
    dtype="float32",
    max_prompt_length=64,
    gradient_checkpointing=False,
    micro_batch_tokens=None,
    lora=None,
    frozen_layers=0,
)
TARGETS = INPUTS @ torch.tensor([1.0, -2.0, 0.5]) + 0.3


@pytest.fixture
def settings(params):
    return params.sft.model_copy(update={"epochs": 10, "batch_size": 4, "learning_rate": 0.1})


def run(settings, seed=0, lengths=None, spoil_step=None, micro_batch_tokens=None):
    """Trains a linear model; returns it, the curves, and the batches that the loss was asked for."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    batches = []

    def loss(indices, step):
        batches.append(indices)
        mine = share(indices)
        errors = (model(INPUTS[mine.indices])[:, 0] - TARGETS[mine.indices]) ** 2
        value = mine.fraction * errors.mean() * (math.nan if len(batches) == spoil_step else 1)
        return value, {"worst": errors.max().detach()}

    compute = COMPUTE.model_copy(update={"micro_batch_tokens": micro_batch_tokens})
    history = train(model, loss, lengths or list(range(1, 41)), settings, compute, InProcess(compute), seed, "toy")
    return model, history, batches


def test_loss_falls_to_the_solution(settings):
    model, history, _ = run(settings)
    assert history[-1]["loss"] < 1e-3 < 1 < history[0]["loss"]
    assert model.weight[0].tolist() == pytest.approx([1.0, -2.0, 0.5], abs=0.05)
    assert not model.training


def test_two_runs_are_the_same_and_another_seed_is_not(settings):
    _, history, batches = run(settings)
    _, again, batches_again = run(settings)
    assert (history, batches) == (again, batches_again)
    _, other, batches_other = run(settings, seed=1)
    assert history != other and batches != batches_other


def test_each_example_once_an_epoch(settings):
    _, history, batches = run(settings.model_copy(update={"epochs": 3, "batch_size": 7}))
    assert len(batches) == 3 * 6 == len(history)
    for epoch in range(3):
        assert sorted(index for batch in batches[6 * epoch : 6 * epoch + 6] for index in batch) == list(range(40))
    assert [row["epoch"] for row in history] == [1] * 6 + [2] * 6 + [3] * 6
    assert batches[:6] != batches[6:12]


def test_rate_warms_up_and_ends_at_a_tenth(settings):
    """100 steps, 5 of them warm-up to 0.1: 0.02, 0.04, 0.06, 0.08, 0.1; half of the cosine (step 5 + 95/2) lies at 0.055."""
    rates = [row["learning_rate"] for row in run(settings)[1]]
    assert len(rates) == 100
    assert rates[:6] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1])
    assert (rates[52] + rates[53]) / 2 == pytest.approx(0.055, abs=1e-6)
    assert rates[-1] == pytest.approx(0.01, rel=0.005)
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_curves_say_what_happened(settings):
    _, history, _ = run(settings)
    assert [row["step"] for row in history] == list(range(1, 101))
    assert set(history[0]) == {"step", "epoch", "loss", "learning_rate", "gradient_norm", "num_tokens", "worst"}
    assert all(row["worst"] >= row["loss"] for row in history)
    assert all(isinstance(value, (int, float)) for row in history for value in row.values())


def test_micro_batches_hold_so_many_tokens_and_train_the_same(settings):
    """Batches of four examples of 3 tokens: 6 at once are two parts, 100 one, and less than an example is an example a part."""
    lengths = [3] * 40
    _, history, batches = run(settings, lengths=lengths)
    for tokens, num_parts in ((100, 1), (6, 2), (5, 3), (1, 4)):
        model, history_of_parts, batches_of_parts = run(settings, lengths=lengths, micro_batch_tokens=tokens)
        assert batches_of_parts == [batch for batch in batches for _ in range(num_parts)]
        assert [row["num_tokens"] for row in history_of_parts] == [12] * 100
        for row, row_of_parts in zip(history, history_of_parts, strict=True):
            assert row_of_parts["loss"] == pytest.approx(row["loss"], rel=1e-3, abs=1e-5)
        assert model.weight[0].tolist() == pytest.approx([1.0, -2.0, 0.5], abs=0.05)


def test_frozen_parameters_stay(settings):
    model = torch.nn.Linear(3, 1)
    model.bias.requires_grad_(False)
    bias, weight = model.bias.clone(), model.weight.clone()
    train(
        model, lambda indices, step: (model(INPUTS[indices]).square().mean(), {}), [1] * 40, settings, COMPUTE, InProcess(COMPUTE), 0, "toy"
    )
    assert torch.equal(model.bias, bias) and not torch.equal(model.weight, weight)


def test_no_weight_decay(settings):
    """A parameter with a gradient of zero stays where it is."""
    model = torch.nn.Linear(3, 1)
    weight = model.weight.clone()
    train(model, lambda indices, step: (0 * model(INPUTS[indices]).sum(), {}), [1] * 40, settings, COMPUTE, InProcess(COMPUTE), 0, "toy")
    assert torch.equal(model.weight, weight)


def test_loss_that_is_not_finite_stops_the_run(settings):
    with pytest.raises(ModelError, match=r"^toy: the loss became nan at step 7; lower learning_rate 0.1$"):
        run(settings, spoil_step=7)
