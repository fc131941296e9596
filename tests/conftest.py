"""Shared by the tests: a small trained tokenizer, a tiny random Llama with peaked predictions, dialogues of different lengths."""

from pathlib import Path

import pytest

import apo_bench  # noqa: F401  (before all else: it switches telemetry and the network off)
from apo_bench.config.compute_sections import Compute
from apo_bench.config.params import Params, load_params
from apo_bench.data.records import format_dialogue

LONGEST = (
    "pipeline/test_end_to_end.py",
    "pipeline/test_ranks.py",
    "pipeline/test_decide.py",
    "pipeline/test_end_to_end_hh.py",
    "pipeline/test_end_to_end_preferences.py",
    "pipeline/test_repro.py",
)
"""Files that take half a minute or more; they begin first, so that no process is at one of them when the others have ended."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Has the longest files begin first; the others keep their order."""
    places = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Not where this file is read, as the process that only hands tests out needs no torch."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def params(root) -> Params:
    """The params.yaml of the repository."""
    return load_params(root / "params.yaml")


@pytest.fixture(scope="session")
def compute(params) -> Compute:
    """One thread, float32, and room for every prompt of the tests."""
    return params.compute.model_copy(update={"max_prompt_length": 1024})


@pytest.fixture(scope="session")
def tokenizer():
    """A byte-level BPE tokenizer of 400 tokens, trained on the steps of the corpus."""
    from apo_bench.data.corpus import load_corpus
    from apo_bench.models.tokenizer import train_tokenizer

    return train_tokenizer([step for topic in load_corpus().topics for step in topic.steps], vocab_size=400)


@pytest.fixture(scope="session")
def new_model(tokenizer, params):
    """Makes a random Llama (hidden 32, 2 layers); matrices are scaled up so that its predictions are far from uniform."""
    import torch

    from apo_bench.models.language_model import new_llama

    def make(seed: int = 0):
        sizes = {"max_length": 128, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "intermediate_size": 64}
        model = new_llama(params.base_model.model_copy(update=sizes), tokenizer, seed)
        with torch.no_grad():
            for matrix in model.parameters():
                if matrix.ndim == 2:
                    matrix.mul_(20)
        return model.eval()

    return make


@pytest.fixture(scope="session")
def model(new_model):
    """One such Llama, shared: tests must not change it."""
    return new_model()


@pytest.fixture(scope="session")
def dialogues() -> list[str]:
    """Three dialogues, short, long and in between."""
    questions = ("Hi?", "How do I clean a burnt pan when I have no brush and very little time?", "I am tired. What is a good tea?")
    return [format_dialogue(question) for question in questions]
