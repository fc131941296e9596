"""Reward models as MLflow's `python_function`: the score of each chat, by the code that scores everywhere else. Loaded by its name."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from apo_bench.config.compute_sections import Compute
from apo_bench.core.errors import DataError
from apo_bench.core.records import ResponseRow
from apo_bench.data.records import ASSISTANT, HUMAN
from apo_bench.models.reward_model import all_rewards, heads_of, load_reward_model, longest_scored
from apo_bench.models.tokenizer import encode_records, load_tokenizer

if TYPE_CHECKING:
    import pandas as pd

TURNS = {"user": HUMAN, "assistant": ASSISTANT}
LONGEST = 1024
"""Tokens of a chat that a reward model scores which does not say how long it was trained on."""


class Scorer:
    """A reward model on its tokenizer."""

    def __init__(self, folder: Path) -> None:
        self.compute = Compute(
            num_threads=torch.get_num_threads(),
            device="cuda" if torch.cuda.is_available() else "cpu",
            dtype="float32",
            stages_per_gpu=1,
            max_prompt_length=LONGEST,
            gradient_checkpointing=False,
            micro_batch_tokens=None,
            lora=None,
            frozen_layers=0,
        )
        self.model, self.tokenizer = load_reward_model(folder, self.compute), load_tokenizer(folder)

    def predict(self, chats: "pd.DataFrame", params: dict[str, Any] | None = None) -> "pd.DataFrame":
        """The score of each row's chat.

        Args:
            chats: `messages`, turns with `role` and `content` that begin with the user's and end with the answer to be scored; and
                `subset`, which of the data's subsets the prompt is of, where the reward model has a head for each.
            params: none are known.

        Returns:
            A column `score`.

        Raises:
            DataError: a chat has other turns, or a subset is missing or unknown.
        """
        import pandas as pd  # MLflow's, which trains no model

        longest = longest_scored(self.model, LONGEST)
        rows = [_record(number, row, heads_of(self.model)) for number, row in enumerate(chats.to_dict(orient="records"))]
        groups = encode_records(self.tokenizer, rows, [[row["response"]] for row in rows], longest, longest)
        sequences = [sequence for group in groups for sequence in group]
        scores_N = all_rewards(self.model, sequences, self.tokenizer.pad_token_id, "score")
        return pd.DataFrame({"score": scores_N.double().tolist()})


def _record(number: int, row: dict[str, Any], heads: tuple[str, ...]) -> ResponseRow:
    turns = list(row["messages"])
    roles = [turn["role"] for turn in turns]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        found = ", ".join(roles) or "nothing"
        raise DataError(f"chat {number}: found turns of {found}, expected user and assistant in turn, the last one the answer to be scored")
    subset = row.get("subset")
    if heads and subset not in heads:
        raise DataError(f"chat {number}: subset is {subset!r}, expected one of {', '.join(heads)}: the reward model has a head for each")
    dialogue = "".join(f"{TURNS[turn['role']]} {turn['content']}" for turn in turns[:-1]) + ASSISTANT
    return {"id": str(number), "subset": subset or "", "dialogue": dialogue, "response": turns[-1]["content"]}


def _load_pyfunc(path: str) -> Scorer:
    """What MLflow calls with the folder of a logged model."""
    return Scorer(Path(path) / "model")
