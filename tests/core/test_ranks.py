"""Shares of a batch add up to the batch, whatever the number of ranks; all ranks but the first write nothing."""

import pytest
import torch

from apo_bench.core import ranks
from apo_bench.core.errors import NotTheWriter
from apo_bench.core.files import complete_directory, write_json


def shares(monkeypatch, num_ranks, batch, sizes=None):
    monkeypatch.setattr(ranks, "_num_ranks", num_ranks)
    found = []
    for rank in range(num_ranks):
        monkeypatch.setattr(ranks, "_rank", rank)
        found.append(ranks.share(batch, sizes))
    return found


def test_one_process_has_the_whole_batch():
    assert ranks.share([4, 7, 9]) == ranks.Share([4, 7, 9], 1.0)
    assert ranks.num_ranks() == 1 and ranks.rank() == 0
    assert ranks.add_up(torch.tensor([2.0])).item() == 2.0


@pytest.mark.parametrize("num_ranks", [2, 3, 8])
def test_each_example_is_one_ranks(monkeypatch, num_ranks):
    found = shares(monkeypatch, num_ranks, list(range(10, 21)))
    assert sorted(index for mine in found for index in mine.indices) == list(range(10, 21))
    assert sum(mine.fraction for mine in found) == pytest.approx(1.0)
    assert max(len(mine.indices) for mine in found) - min(len(mine.indices) for mine in found) <= 1


def test_rank_without_an_example_computes_another_in_vain(monkeypatch):
    found = shares(monkeypatch, 3, [5])
    assert [mine.indices for mine in found] == [[5], [5], [5]]
    assert [mine.fraction for mine in found] == [1.0, 0.0, 0.0]


def test_sizes_weigh_the_examples(monkeypatch):
    """Of 1 + 2 + 5 tokens the first of two ranks has 1 + 5."""
    found = shares(monkeypatch, 2, [0, 1, 2], sizes=[1, 2, 5])
    assert [mine.fraction for mine in found] == [6 / 8, 2 / 8]


def test_only_the_first_rank_writes(monkeypatch, tmp_path):
    monkeypatch.setattr(ranks, "_rank", 1)
    with pytest.raises(NotTheWriter):
        write_json(tmp_path / "metrics.json", {})
    with pytest.raises(NotTheWriter), complete_directory(tmp_path / "model"):
        pass
    assert not list(tmp_path.iterdir())
