"""The ledger with a real reward model: scores are those of each response alone, and other prompts are refused."""

import numpy as np
import pytest

from apo_bench.core.errors import DataError, MissingInputError
from apo_bench.core.files import write_jsonl
from apo_bench.core.layout import Arm
from apo_bench.data.corpus import HARMLESS, HELPFUL
from apo_bench.game.ledger import read_players, samples_scored_by, score_players
from apo_bench.game.players import golden_above, ledger_rows, reward_model_folders
from apo_bench.models.language_model import save_model
from apo_bench.models.reward_model import LENGTH, all_rewards, load_reward_model, new_reward_model
from apo_bench.models.tokenizer import encode_records

SUBSETS = (HELPFUL, HARMLESS)

MAX_LENGTH = 128


def rows(dialogues, *responses):
    return [
        {"id": str(number), "subset": SUBSETS[number % 2], "dialogue": dialogue, "response": response, "finished": number != 1, "gold": 1.0}
        for number, (dialogue, response) in enumerate(zip(dialogues, responses, strict=True))
    ]


@pytest.fixture
def players(dialogues):
    """SFT and one round, the second response of each cut off, and golden responses."""
    policies = {"r0": rows(dialogues, "No.", "Boil the water", "Yes."), "r1": rows(dialogues, "Yes.", "Use salt", "")}
    golden = [{key: row[key] for key in ("id", "subset", "dialogue")} | {"response": "Boil the water."} for row in policies["r0"]]
    return policies, golden


@pytest.mark.parametrize("subsets", [(), SUBSETS], ids=["one head", "two heads"])
@pytest.mark.parametrize("longer", [1, 20], ids=["prompts are longer", "responses are longer"])
def test_scores_are_those_of_each_response_alone(model, tokenizer, compute, dialogues, players, tmp_path, longer, subsets):
    save_model(model, tokenizer, tmp_path / "language_model")
    folders = {name: tmp_path / name for name in ("base", "r1")}
    for seed, folder in enumerate(folders.values()):
        save_model(new_reward_model(tmp_path / "language_model", seed, compute, False, subsets), tokenizer, folder)
    policies, golden = players
    for row in [*golden, *(row for rows in policies.values() for row in rows)]:
        row["response"] *= longer
    scores = score_players(folders, policies, golden, compute, MAX_LENGTH)
    assert list(scores) == ["base", "r1"] and all(list(found) == ["r0", "r1", "golden"] for found in scores.values())
    for name, folder in folders.items():
        for policy, texts in (policies | {"golden": [row | {"finished": True} for row in golden]}).items():
            for number, row in enumerate(texts):
                [[alone]] = encode_records(
                    tokenizer, [row], [[row["response"]]], MAX_LENGTH, compute.max_prompt_length, [[row["finished"]]]
                )
                reward = all_rewards(load_reward_model(folder, compute), [alone], tokenizer.pad_token_id, "one").item()
                assert scores[name][policy][number] == pytest.approx(reward, abs=1e-4), (name, policy, number)
    assert not np.allclose(scores["base"]["r0"], scores["r1"]["r0"])
    samples = [row | {"responses": [row["response"]], "finished": [row["finished"]]} for row in policies["r0"]]
    again = samples_scored_by(folders["base"], samples, compute, MAX_LENGTH)
    assert [values[0] for values in again] == pytest.approx(scores["base"]["r0"].tolist(), abs=1e-4)
    written = ledger_rows(golden, scores)
    assert [row["scores"]["r1"]["golden"] for row in written] == scores["r1"]["golden"].tolist()
    assert [row["id"] for row in written] == ["0", "1", "2"]


def test_a_reward_model_scores_the_lengths_that_it_was_trained_on(model, tokenizer, compute, dialogues, players, tmp_path):
    """Each of them, whatever the policies' longest sequence is."""
    save_model(model, tokenizer, tmp_path / "language_model")
    policies, golden = players
    for row in golden:
        row["response"] *= 20
    folders = {"base": tmp_path / "base", "r1": tmp_path / "r1"}
    for folder, length in zip(folders.values(), (24, 40), strict=True):
        reward_model = new_reward_model(tmp_path / "language_model", 0, compute, False)
        setattr(reward_model.config, LENGTH, length)
        save_model(reward_model, tokenizer, folder)
    scores = score_players(folders, policies, golden, compute, MAX_LENGTH)
    for name, length in (("base", 24), ("r1", 40)):
        groups = encode_records(tokenizer, golden, [[row["response"]] for row in golden], length, compute.max_prompt_length)
        assert all(len(group[0].ids) == length for group in groups)
        expected = all_rewards(load_reward_model(folders[name], compute), [group[0] for group in groups], 0, "cut").tolist()
        assert scores[name]["golden"].tolist() == pytest.approx(expected, abs=1e-4)
    samples = [row | {"responses": [row["response"]], "finished": [True]} for row in golden]
    again = samples_scored_by(folders["base"], samples, compute, MAX_LENGTH)
    assert [values[0] for values in again] == pytest.approx(scores["base"]["golden"].tolist(), abs=1e-4)


def test_golden_above_counts_a_tie_as_half():
    scores = {"base": {"r0": np.array([0.0, 1.0, 2.0]), "golden": np.array([1.0, 1.0, 1.0])}}
    assert {name: values.tolist() for name, values in golden_above(scores)["base"].items()} == {"r0": [1.0, 0.5, 0.0]}


def test_reward_models_of_a_game(tmp_path):
    of_base = {"base": tmp_path / "s0/reward/base"}
    assert reward_model_folders(Arm("dpo", "base", 0), tmp_path, ["r1", "r2"]) == of_base
    own = {"r1": tmp_path / "s0/first/reward/wgan", "r2": tmp_path / "s0/arms/dpo-wgan/r2/reward"}
    assert reward_model_folders(Arm("dpo", "wgan", 0), tmp_path, ["r1", "r2"]) == of_base | own


def test_players_are_read_in_the_order_of_the_rounds(players, tmp_path):
    policies, golden = players
    write_jsonl(tmp_path / "sft/prompts.jsonl", policies["r0"])
    write_jsonl(tmp_path / "arm/r1/evaluation/prompts.jsonl", policies["r1"])
    write_jsonl(tmp_path / "golden_test.jsonl", golden)
    given = {"r0": tmp_path / "sft", "r1": tmp_path / "arm/r1/evaluation"}, tmp_path / "golden_test.jsonl"
    assert read_players(*given, ("gold",)) == (policies, golden)
    with pytest.raises(MissingInputError, match=r"arm/r2/evaluation/prompts.jsonl: no such file"):
        read_players(given[0] | {"r2": tmp_path / "arm/r2/evaluation"}, given[1], ("gold",))
    with pytest.raises(DataError, match="no key reward_all"):
        read_players(*given, ("reward_all",))
    write_jsonl(tmp_path / "golden_test.jsonl", golden[::-1])
    with pytest.raises(DataError, match=r"golden_test.jsonl: not the prompts of .*sft/prompts.jsonl in their order"):
        read_players(*given, ("gold",))
