"""A stage's checkpoints are found again by the same inputs and by no other."""

import pytest

from apo_bench.engines.checkpoints import last_step, remove, scratch_folder


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """A stage's command, params, inputs, number of ranks and engine, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    data, model = tmp_path / "data", tmp_path / "model.safetensors"
    data.mkdir()
    (data / "pairs.jsonl").write_text("{}")
    model.write_bytes(b"weights")
    return {
        "command": ["sft", "--base", "m"],
        "params": {"sft": {"epochs": 1}},
        "inputs": [data, model],
        "num_ranks": 2,
        "package": "numpy",
    }


def test_same_inputs_find_the_checkpoints(stage):
    folder = scratch_folder(**stage)
    (folder / "step-20").mkdir()
    (folder / "step-100").mkdir()
    (folder / "partial").mkdir()
    assert scratch_folder(**stage) == folder
    assert last_step(folder) == 100


@pytest.mark.parametrize(
    "change",
    [
        lambda stage: stage.update(params={"sft": {"epochs": 2}}),
        lambda stage: stage.update(num_ranks=4),
        lambda stage: stage.update(package="scipy"),
        lambda stage: (stage["inputs"][0] / "pairs.jsonl").write_text("[]"),
        lambda stage: (stage["inputs"][0] / "more.jsonl").write_text("{}"),
        lambda stage: stage["inputs"][1].write_bytes(b"Weights"),
    ],
)
def test_other_inputs_start_anew_and_delete_what_is_of_no_use(stage, change):
    folder = scratch_folder(**stage)
    (folder / "step-20").mkdir()
    change(stage)
    other = scratch_folder(**stage)
    assert other != folder and last_step(other) == 0
    assert not folder.exists()


def test_another_stage_leaves_them_alone(stage):
    folder = scratch_folder(**stage)
    (folder / "step-20").mkdir()
    other = scratch_folder(**{**stage, "command": ["sft", "--base", "n"]})
    assert other.parent != folder.parent and last_step(folder) == 20
    remove(other)
    assert last_step(folder) == 20
    remove(folder)
    assert not folder.parents[1].exists()
