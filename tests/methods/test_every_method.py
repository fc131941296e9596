"""What holds for any method, a new one included: it is taken from the folder and from its section of params.yaml."""

import itertools
from pathlib import Path

import pytest
import torch
import yaml

from apo_bench.core.config import load_method
from apo_bench.methods.base import ResponseGroups

ROOT = Path(__file__).parents[2]
NAMES = sorted({file.stem for file in (ROOT / "apo_bench/methods").glob("*.py")} - {"__init__", "base"})
REWARDS, LOGPS, LENGTHS = [0.4, 2.0, -1.0, 0.9], [-6.0, -9.0, -4.0, -7.0], [3, 4, 2, 5]


@pytest.fixture(params=NAMES)
def method(request):
    sections = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["methods"]
    return load_method(request.param, sections)


def loss_of(method, order) -> tuple[float, torch.Tensor]:
    """The loss if the responses come in `order`, and its gradient for each response in the original order."""
    chosen = [order[index] for index in method.select([REWARDS[index] for index in order])]
    logps = torch.tensor(LOGPS, requires_grad=True)
    reference = torch.tensor([-7.0, -8.0, -5.0, -6.0])[chosen][None] if method.needs_reference else None
    groups = ResponseGroups(logps[chosen][None], torch.tensor(LENGTHS)[chosen][None], torch.tensor(REWARDS)[chosen][None], reference)
    losses, _ = method.loss(groups)
    losses.sum().backward()
    return losses.item(), logps.grad


def test_order_of_the_responses_changes_nothing(method):
    value, gradient = loss_of(method, [0, 1, 2, 3])
    for order in itertools.permutations(range(4)):
        shuffled_value, shuffled_gradient = loss_of(method, order)
        assert shuffled_value == pytest.approx(value, abs=1e-6)
        assert torch.allclose(shuffled_gradient, gradient, atol=1e-6)


def test_the_best_response_becomes_likelier(method):
    _, gradient = loss_of(method, [0, 1, 2, 3])
    assert gradient[1] < 0
    assert gradient[2] >= 0  # the worst does not


def test_prompts_of_a_batch_do_not_mix(method):
    """The loss of a prompt in a batch is its loss alone, and each metric has a value a prompt."""
    torch.manual_seed(0)
    num_chosen = len(method.select(REWARDS))
    logps, rewards = -9 * torch.rand(3, num_chosen), torch.rand(3, num_chosen).sort(descending=True).values
    reference = -9 * torch.rand(3, num_chosen) if method.needs_reference else None
    lengths = torch.randint(1, 9, (3, num_chosen))

    def part(rows: slice) -> ResponseGroups:
        return ResponseGroups(logps[rows], lengths[rows], rewards[rows], None if reference is None else reference[rows])

    losses, metrics = method.loss(part(slice(None)))
    alone = torch.cat([method.loss(part(slice(row, row + 1)))[0] for row in range(3)])
    assert losses.shape == (3,) and torch.allclose(losses, alone, atol=1e-6)
    assert all(values.shape == (3,) and not values.requires_grad for values in metrics.values())


def test_works_with_as_few_responses_as_it_says(method):
    assert method.select([float(rank) for rank in range(method.min_responses)])


def test_selection_is_always_of_the_same_number(method):
    selections = [method.select(list(rewards)) for rewards in itertools.product([0.0, 1.0, 2.0], repeat=4)]
    assert len({len(selection) for selection in selections if selection is not None}) == 1
