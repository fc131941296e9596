"""Files are written whole or not at all, also on a disk that is really full (/dev/full) or a file size that is really limited."""

import gzip
import resource
import subprocess
import sys

import pytest

from apo_bench.core.errors import DataError, MissingInputError, OutputError
from apo_bench.core.files import complete_directory, read_json, read_jsonl, write_json, write_jsonl, write_text
from apo_bench.models.language_model import save_model


def test_directory_appears_whole(tmp_path):
    target = tmp_path / "deep" / "model"
    with complete_directory(target) as scratch:
        (scratch / "weights").write_text("new")
        assert not target.exists()
    assert (target / "weights").read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_directory_replaces_the_old_one_and_what_an_interrupted_run_left(tmp_path):
    for name in ("model", ".model.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "stale").touch()
    with complete_directory(tmp_path / "model") as scratch:
        (scratch / "weights").touch()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["model", "model/weights"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failed_block_leaves_nothing_half_written(tmp_path, error):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    with pytest.raises(error), complete_directory(tmp_path / "model") as scratch:
        (scratch / "weights").touch()
        raise error
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["model", "model/old"]


def test_full_disk_in_a_directory(tmp_path):
    with pytest.raises(OutputError, match=r"model: the disk is full; free some space"), complete_directory(tmp_path / "model") as scratch:
        (scratch / "weights").symlink_to("/dev/full")
        (scratch / "weights").write_text("too much")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", ["model", "tokenizer"])
def test_full_disk_while_a_model_is_saved(tmp_path, model, tokenizer, part):
    """A limit of 1 kB a file, which the weights and the tokenizer exceed."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(OutputError, match="model: cannot be written"), complete_directory(tmp_path / "model") as scratch:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            save_model(model, tokenizer, scratch) if part == "model" else tokenizer.save_pretrained(scratch)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("text", ["I/O error: No space left on device (os error 28)", "os error: No space left on device"])
def test_full_disk_in_the_words_of_a_library(tmp_path, text):
    with pytest.raises(OutputError, match="model: the disk is full"), complete_directory(tmp_path / "model"):
        raise Exception(text)
    assert list(tmp_path.iterdir()) == []


def test_error_that_is_not_of_writing_passes_unchanged(tmp_path):
    with pytest.raises(FileNotFoundError, match="input"), complete_directory(tmp_path / "model"):
        (tmp_path / "input").read_text()
    for error in (ConnectionError("refused"), OSError("no tokenizer in the folder"), RuntimeError("No such file (os error 2)")):
        with pytest.raises(type(error)) as caught, complete_directory(tmp_path / "model"):
            raise error
        assert caught.value is error
    assert list(tmp_path.iterdir()) == []


def test_error_of_a_file_in_the_directory_is_one_of_writing(tmp_path):
    with pytest.raises(OutputError, match="model: cannot be written"), complete_directory(tmp_path / "model") as scratch:
        (scratch / "no folder" / "weights").write_text("x")


def test_full_disk_keeps_the_old_file(tmp_path):
    path = tmp_path / "table.json"
    write_text(path, "old")
    (tmp_path / ".table.json.partial").symlink_to("/dev/full")  # where the new text is written first
    with pytest.raises(OutputError, match=r"table.json: the disk is full"):
        write_text(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_file_size_limit_keeps_the_old_file(tmp_path):
    """In a process of its own that may write 1000 bytes a file."""
    path = tmp_path / "table.json"
    path.write_text("old")
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; import resource; from apo_bench.core.errors import OutputError;"
        "from apo_bench.core.files import write_text; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"try: write_text({str(path)!r}, 'x' * 100000)\n"
        "except OutputError as error: print(error)"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "table.json: cannot be written (File too large)" in printed
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/model: cannot be written"), complete_directory(tmp_path / "file" / "model"):
        pass


def test_json_round_trip(tmp_path):
    value = {"b": [1, 2.5, None], "a": "你好"}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    assert (tmp_path / "x.json").read_text(encoding="utf-8").startswith('{\n  "a": "你好"')  # sorted, so that bytes repeat
    write_jsonl(tmp_path / "x.jsonl", [value, {"c": "line\nbreak \u2028"}])
    assert read_jsonl(tmp_path / "x.jsonl") == [value, {"c": "line\nbreak \u2028"}]


def test_compressed_rows_are_read_as_the_plain_ones(tmp_path):
    rows = [{"a": "line\nbreak \u2028"}, {"a": "你好"}]
    write_jsonl(tmp_path / "x.jsonl", rows)
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress((tmp_path / "x.jsonl").read_bytes()))
    (tmp_path / "dos.jsonl").write_bytes((tmp_path / "x.jsonl").read_bytes().replace(b"\n", b"\r\n"))
    assert [read_jsonl(tmp_path / name) for name in ("x.jsonl", "x.jsonl.gz", "dos.jsonl")] == [rows] * 3


@pytest.mark.parametrize(
    ("break_it", "line"),
    [
        (lambda whole: b"not gzip at all", 1),
        (lambda whole: whole[:-4], 1001),  # cut short by the last bytes of the end: all lines come
        (lambda whole: whole[:10] + b"\xff" * 20 + whole[30:], 1),
        (lambda whole: whole[:-8] + b"\0" * 8, 1001),  # a wrong checksum
    ],
)
def test_broken_compression_is_named(tmp_path, break_it, line):
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(break_it(gzip.compress(b'{"a": 1}\n' * 1000)))
    with pytest.raises(DataError, match=rf"x.jsonl.gz:{line}: not gzip, or cut short \(.*\); get the file again$"):
        read_jsonl(path)


def test_broken_line_of_a_compressed_file_is_named(tmp_path):
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n{"a": 1\n'))
    with pytest.raises(DataError, match=r"x.jsonl.gz:2: not JSON \(.* at column 8\)"):
        read_jsonl(path)


@pytest.mark.parametrize("write", [write_json, lambda path, value: write_jsonl(path, [value])])
def test_nan_is_refused_and_the_old_file_kept(tmp_path, write):
    write_text(tmp_path / "x", "old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(tmp_path / "x", {"loss": float("nan")})
    assert (tmp_path / "x").read_text() == "old"


def test_json_that_is_broken_or_missing_is_named(tmp_path):
    (tmp_path / "x.json").write_text('{\n "a": 1,\n}')
    with pytest.raises(DataError, match=r"x.json:[23]: not JSON"):
        read_json(tmp_path / "x.json")
    with pytest.raises(MissingInputError, match=r"y.json: no such file"):
        read_json(tmp_path / "y.json")


def test_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/x.json: cannot be written"):
        write_text(tmp_path / "file" / "x.json", "text")


def test_json_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "x.json").write_bytes(b'"\xff"')
    with pytest.raises(DataError, match=r"x.json: not UTF-8 .* at byte 1"):
        read_json(tmp_path / "x.json")
