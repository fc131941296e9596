"""Data and model are linked, found or said to be out of reach; what fails leaves nothing behind."""

import pytest

from apo_bench.config.params import load_params
from apo_bench.config.sections import HubRevision
from apo_bench.core.errors import MissingInputError, OutputError
from apo_bench.fetch import fetch_inputs


@pytest.fixture
def small(root, tmp_path, monkeypatch):
    """The profile `small`, seen from an empty folder, with a hub that nobody answers at."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    params = load_params(root / "profiles/small/params.yaml")
    (tmp_path / params.base_model.folder).mkdir(parents=True)
    (tmp_path / params.base_model.folder / "config.json").touch()
    return params


def test_a_folder_is_linked_and_found_again(small, root, tmp_path):
    fixture = root / "tests/fixtures/hh-rlhf"
    assert next(iter(fetch_inputs(small, fixture))) == f"inputs/hh-rlhf: linked to {fixture}"
    assert (tmp_path / "inputs/hh-rlhf/helpful-base/train.jsonl").is_file()
    assert list(fetch_inputs(small, None)) == ["inputs/hh-rlhf: there", "inputs/SmolLM2-135M-Instruct: there"]
    assert next(iter(fetch_inputs(small, fixture.parent))).startswith("inputs/hh-rlhf: linked")  # a link may be changed


def test_a_real_folder_is_not_replaced(small, root, tmp_path):
    (tmp_path / "inputs/hh-rlhf").mkdir(parents=True)
    with pytest.raises(OutputError, match="is a folder of its own already"):
        list(fetch_inputs(small, root / "tests/fixtures/hh-rlhf"))
    with pytest.raises(MissingInputError, match="nowhere: no such folder"):
        list(fetch_inputs(small, tmp_path / "nowhere"))


def test_the_default_needs_nothing(params):
    assert list(fetch_inputs(params, None)) == []


def test_files_of_ones_own_are_found_or_asked_for_and_never_replaced(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = load_params(root / "profiles/preferences/params.yaml")
    file = tmp_path / "inputs/preferences/train.jsonl"
    with pytest.raises(MissingInputError, match=r"train.jsonl: no such file; put it there, or name the repository of the hub"):
        next(fetch_inputs(params, None))
    file.parent.mkdir(parents=True)
    (file.parent / "mine.jsonl").write_text("{}")
    hub = HubRevision(name="org/name", revision="0" * 40)
    with pytest.raises(MissingInputError, match=r"train.jsonl: no such file; put it there, or remove the folder"):
        next(fetch_inputs(params.model_copy(update={"prepare": params.prepare.model_copy(update={"hub": hub})}), None))
    assert (file.parent / "mine.jsonl").is_file()
    file.write_text("{}")
    assert next(fetch_inputs(params, None)) == "inputs/preferences: there"
