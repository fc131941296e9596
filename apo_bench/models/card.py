"""The model card of a saved model, README.md: what it is, how it was made, what it is worth and what it is not for.

It says what the stage knows that saves the model, and nothing that hangs on time or machine, so that equal models have equal folders.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from apo_bench.config.plugins import source_class

CARD = "README.md"
TAKEN_OVER = ("base_model", "license", "license_name")
"""What the card of a model says that holds for all models trained from it."""
OWN_LICENSE = {"license": "apache-2.0"}
"""Of a model that is made of nothing but this repository."""
BASE_LICENSE = {"license": "other", "license_name": "that-of-the-base-model"}
"""Of one that was trained from another's."""
NOT_FOR = {
    "policy": "Made to compare alignment methods. It was not tested for safety, facts, or any language but that of its data: do not let it "
    "answer people, or decide anything about them.",
    "reward_model": "Made to compare alignment methods. Its scores say which of two answers to one prompt people would rather have, with "
    "errors that are measured on pairs it never saw; they compare neither prompts nor models, and are no measure of truth or safety. A "
    "policy that is trained on them long enough will find what they are wrong about.",
}
USE = {
    "policy": '```python\nfrom transformers import pipeline\n\nchat = pipeline("text-generation", model="FOLDER")\n'
    'chat([{"role": "user", "content": "What is a good way to clean a burnt pan?"}])\n```',
    "reward_model": '```python\nfrom transformers import pipeline\n\nscore = pipeline("text-classification", model="FOLDER")\n'
    'chat = [{"role": "user", "content": "Is it safe?"}, {"role": "assistant", "content": "No."}]\n'
    'score(score.tokenizer.apply_chat_template(chat, tokenize=False), function_to_apply="none", top_k=None)\n```\n\n'
    "The score is read off the last token, which must be the one that ends the answer.",
}
MEASURED_LATER = {"policy": "Those of its answers to test prompts", "reward_model": "Those of its errors on held-out human pairs"}


@dataclass(frozen=True)
class Card:
    """What a stage knows of the model that it saves."""

    title: str
    kind: Literal["policy", "reward_model"]
    made: str
    """How, in a sentence or two."""
    source: str | None
    """Of the records that it was trained on; None if on none."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the training."""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """What was counted and measured by then."""
    start: Path | None = None
    """The folder of the model that it was trained from; None: `facts` says what it would."""
    facts: Mapping[str, str] = field(default_factory=dict)


def write_card(card: Card, folder: Path) -> None:
    """Writes the card of the model in `folder`."""
    metadata = {"library_name": "transformers", "pipeline_tag": "text-generation" if card.kind == "policy" else "text-classification"}
    metadata |= _facts(card.start) if card.start else dict(card.facts)
    known: dict[str, Any] = {**metadata, "tags": ["apo-bench", "preference-learning", card.kind.replace("_", "-")]}
    data = source_class(card.source) if card.source else None
    if data and data.hub_names:
        known["datasets"] = list(data.hub_names)
    later = f"{MEASURED_LATER[card.kind]} are measured later: `report/table.md` and MLflow have them, with intervals. Of the training:"
    parts = [
        f"---\n{yaml.safe_dump(known, sort_keys=False)}---\n\n# {card.title}\n\n{card.made}",
        f"## Use\n\n{USE[card.kind]}",
        *([f"## Data\n\n{data.card}"] if data else []),
        *([f"## Training\n\n{_table(card.settings)}"] if card.settings else []),
        *([f"## Numbers\n\n{later}\n\n{_table(card.numbers)}"] if card.numbers else []),
        f"## What it is not for\n\n{NOT_FOR[card.kind]}",
        f"## Licence\n\n{_licence(metadata)}",
    ]
    (folder / CARD).write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def base_facts(folder: Path, name: str) -> dict[str, str]:
    """What the card of a model says that was made from the pretrained model in `folder`, which the hub calls `name`."""
    own = _facts(folder)
    return {"base_model": name} | ({key: own[key] for key in TAKEN_OVER if key != "base_model" and key in own} or BASE_LICENSE)


def _facts(folder: Path) -> dict[str, str]:
    """What is taken over from the card of another model; nothing if it has none that begins as the hub's do."""
    file = folder / CARD
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    if not text.startswith("---\n") or "\n---" not in text[4:]:
        return {}
    try:
        found = yaml.safe_load(text[4:].split("\n---", 1)[0])
    except yaml.YAMLError:
        return {}
    return {key: found[key] for key in TAKEN_OVER if isinstance(found, dict) and isinstance(found.get(key), str)}


def _licence(metadata: Mapping[str, str]) -> str:
    if metadata.get("license") == "apache-2.0" and "base_model" not in metadata:
        return "Apache 2.0, as the repository that made it: weights and corpus come from its code alone."
    base = metadata.get("base_model", "the base model")
    return f"That of {base} ({metadata.get('license', 'see there')}), and of the data."


def _table(values: Mapping[str, Any]) -> str:
    rows = [f"| {name} | {_shown(value)} |" for name, value in values.items()]
    return "\n".join(["| | |", "|---|---|", *rows])


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
