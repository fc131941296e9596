"""The command line calls the library, shows our errors as one line, and imports nothing heavy before a command runs."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from apo_bench import cli
from apo_bench.data.records import format_dialogue, read_records, write_records

DIALOGUE = format_dialogue("Hi?")
PROMPT = {"id": "i", "subset": "helpful", "dialogue": DIALOGUE}
SAMPLES = {**PROMPT, "responses": ["a", "b"], "finished": [True, False]}


def run(*arguments):
    """The result of `apo-bench ARGUMENTS`."""
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("kind", "record", "options"),
    [
        ("pairs", {**PROMPT, "chosen": "a", "rejected": "b"}, {}),
        ("samples", SAMPLES, {}),
        ("golden", {**PROMPT, "response": "g"}, {"--prompts": {**PROMPT, "chosen": "a", "rejected": "b"}}),
        ("scores", {**SAMPLES, "rewards": [0.5, 1.5]}, {"--samples": SAMPLES}),
        ("rejection-sampled", {**SAMPLES, "rewards": [0.5, 1.5]}, {}),
    ],
)
def test_export_and_import_of_each_kind(tmp_path, kind, record, options):
    write_records(tmp_path / "ours.jsonl", [record])
    exported = run("export", kind, tmp_path / "ours.jsonl", tmp_path / "theirs.json")
    assert exported.exit_code == 0 and exported.stdout.startswith(f"export {kind}: read 1 records of ") and exported.stdout.count("\n") == 1
    arguments = []
    for option, row in options.items():
        write_records(tmp_path / "given.jsonl", [row])
        arguments += [option, tmp_path / "given.jsonl"]
    imported = run("import", kind, tmp_path / "theirs.json", tmp_path / "back.jsonl", *arguments)
    assert imported.exit_code == 0 and imported.stdout.startswith(f"import {kind}: read ") and imported.stdout.count("\n") == 1
    assert (tmp_path / "back.jsonl").read_bytes() == (tmp_path / "ours.jsonl").read_bytes()


@pytest.mark.parametrize("kind", ["samples", "rejection-sampled"])
def test_plain_and_subset(tmp_path, kind):
    write_records(tmp_path / "ours.jsonl", [{**SAMPLES, "rewards": [2, 1]}])
    ours, theirs, back = (tmp_path / name for name in ("ours.jsonl", "theirs.jsonl", "back.jsonl"))
    assert run("export", kind, ours, theirs, "--plain").exit_code == 0
    assert not {"subset", "finished"} & set(json.loads(theirs.read_text()))
    refused = run("import", kind, theirs, back)
    assert refused.exit_code == 1 and "give --subset" in refused.stderr and not back.exists()
    assert run("import", kind, theirs, back, "--subset", "harmless").exit_code == 0
    row = read_records(back, "samples")[0]
    assert row["subset"] == "harmless" and row["finished"] == [True, True] and row["rewards"] == [2, 1]


def test_our_errors_are_one_line(tmp_path):
    result = run("import", "pairs", tmp_path / "gone.json", tmp_path / "back.jsonl")
    assert result.exit_code == 1 and result.stdout == ""
    expected = "cannot be read (No such file or directory); expected a file in the authors' format"
    assert result.stderr == f"apo-bench import pairs: {tmp_path}/gone.json: {expected}\n"
    assert run("export", "pairs", tmp_path / "gone.jsonl", tmp_path / "theirs.json").stderr.startswith("apo-bench export: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "pears", "a", "b"], "'pears' is not one of 'pairs', 'samples'"),
        (["import", "golden", "a", "b"], "Missing option '--prompts'"),
        (["import", "scores", "a", "b"], "Missing option '--samples'"),
        (["import", "pairs", "a", "b", "--prompts", "c"], "No such option"),
    ],
)
def test_wrong_usage_is_explained(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2 and message in result.stderr


def test_an_error_that_is_ours_to_mend_keeps_its_traceback(tmp_path, monkeypatch):
    monkeypatch.setattr("apo_bench.exchange.exports.export_records", lambda *arguments: 1 / 0)
    assert isinstance(run("export", "pairs", "a", "b").exception, ZeroDivisionError)


def test_choices_are_those_of_the_library():
    from apo_bench.exchange.exports import EXPORTS

    kind = next(parameter for parameter in cli.export.params if parameter.name == "kind")
    assert list(kind.type.choices) == list(EXPORTS) and set(cli.import_.commands) == set(EXPORTS)


def test_help_imports_nothing_heavy():
    code = "import sys; sys.argv = ['apo-bench', '--help']; from apo_bench.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    modules = set(printed.rsplit("\n", 2)[-2].split())
    assert "Usage: apo-bench" in printed and "apo_bench.core.errors" in modules
    heavy = {
        "torch",
        "transformers",
        "datasets",
        "mlflow",
        "evaluate",
        "numpy",
        "pydantic",
        "yaml",
        "apo_bench.data",
        "apo_bench.config.params",
    }
    assert not modules & heavy
