"""The model card is one that the hub reads, says what is known, takes over what holds for the base model, and is the same bytes twice."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from apo_bench.models.card import OWN_LICENSE, Card, base_facts, write_card

NUMBERS = {"final_loss": 0.65432}


def card_in(folder: Path, **changed: object) -> ModelCard:
    """The card that is written to a folder, as the hub's own library reads it."""
    folder.mkdir(exist_ok=True)
    known = {"title": "RM_base, seed 0", "kind": "reward_model", "made": "Trained on pairs.", "source": "hh", "numbers": NUMBERS}
    write_card(Card(**{**known, **changed}), folder)
    return ModelCard.load(folder / "README.md")


def test_the_hub_reads_it(tmp_path):
    card = card_in(tmp_path, settings={"learning_rates": [1e-3, 5e-4], "epochs": 1}, facts=OWN_LICENSE)
    assert (card.data.library_name, card.data.pipeline_tag, card.data.license) == ("transformers", "text-classification", "apache-2.0")
    assert card.data.datasets == ["Anthropic/hh-rlhf"] and "apo-bench" in card.data.tags
    for line in (
        "# RM_base, seed 0",
        "| learning_rates | [0.001, 0.0005] |",
        "| final_loss | 0.6543 |",
        "## What it is not for",
        "Apache 2.0",
    ):
        assert line in card.text
    assert card_in(tmp_path / "policy", kind="policy").data.pipeline_tag == "text-generation"


def test_equal_models_have_equal_cards(tmp_path):
    first, second = (card_in(tmp_path / name) for name in ("first", "second"))
    assert first.content == second.content


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("---\nlicense: mit\ntags: [a]\n---\n# SmolLM", {"base_model": "org/name", "license": "mit"}),
        ("# no metadata", {"base_model": "org/name", "license": "other", "license_name": "that-of-the-base-model"}),
        ("---\nlicense: [\n---\n", {"base_model": "org/name", "license": "other", "license_name": "that-of-the-base-model"}),
        (None, {"base_model": "org/name", "license": "other", "license_name": "that-of-the-base-model"}),
    ],
)
def test_base_model_and_its_licence_are_taken_over_by_all_that_is_trained_from_it(tmp_path, own, expected):
    if own is not None:
        (tmp_path / "README.md").write_text(own, encoding="utf-8")
    facts = base_facts(tmp_path, "org/name")
    assert facts == expected
    card_in(tmp_path / "base", facts=facts)
    card_in(tmp_path / "sft", start=tmp_path / "base")
    last = card_in(tmp_path / "policy", start=tmp_path / "sft")
    assert (last.data.base_model, last.data.license) == ("org/name", expected["license"])
    assert "That of org/name" in last.text
