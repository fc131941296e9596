"""Reading and writing of files: whole or not at all, and a broken line is named."""

import errno
import gzip
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, overload

from apo_bench.core.errors import DataError, MissingInputError, NotTheWriter, OutputError
from apo_bench.core.ranks import rank
from apo_bench.core.schemas import R, Schema
from apo_bench.core.strict_json import parse, parse_row

WRITE_FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What the system answers when bytes do not fit; of these errors alone many name no file."""
ONE_A_LINE = "expected one JSON object a line"


@contextmanager
def complete_directory(path: Path) -> Iterator[Path]:
    """A scratch directory that becomes `path` when the block ends well, and is deleted when it does not.

    Raises:
        OutputError: the disk is full or the place cannot be written; other errors of the block pass unchanged.
        NotTheWriter: in all ranks but the first.
    """
    _check_writer()
    path = Path(path)
    scratch = path.with_name(f".{path.name}.partial")
    try:
        with _output_errors(path):
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
        try:
            yield scratch
        except Exception as error:
            if _is_failed_write(error, scratch):
                raise _output_error(path, _system_error(error)) from error
            raise
        with _output_errors(path):
            if path.exists():
                shutil.rmtree(path)
            scratch.rename(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path`, whole or not at all.

    Raises:
        OutputError: the disk is full or the place cannot be written.
        NotTheWriter: in all ranks but the first.
    """
    _check_writer()
    path = Path(path)
    scratch = path.with_name(f".{path.name}.partial")
    try:
        with _output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with scratch.open("w", encoding="utf-8") as file:
                file.write(text)
            os.replace(scratch, path)
    finally:
        with suppress(OSError):
            scratch.unlink()


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as JSON with sorted keys; NaN is refused, as JSON has none."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes one JSON object a line."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        MissingInputError: there is no such file.
        DataError: the file is not UTF-8 or not JSON, or holds what `parse` refuses; file and line are named.
    """
    return parse(_existing(path).read_bytes(), path)


@overload
def read_jsonl(path: Path, schema: Schema[R]) -> list[R]: ...
@overload
def read_jsonl(path: Path, schema: None = None) -> list[dict[str, Any]]: ...
def read_jsonl(path: Path, schema: Schema[Any] | None = None) -> list[Any]:
    """The rows of a JSONL file, compressed if its name ends in .gz, each a JSON object as the schema has it.

    Raises:
        MissingInputError: there is no such file.
        DataError: the file is empty or its compression broken, or a line is not UTF-8 or not a JSON object, holds what `parse` refuses, or
            breaks the schema; file, line and key are named.
    """
    rows = []
    for number, raw in _lines(_existing(path)):
        row = parse_row(raw, path, number, ONE_A_LINE) if schema else parse(raw, path, number, ONE_A_LINE)
        if not isinstance(row, dict):
            keys = f" with the keys {', '.join(schema.columns)}" if schema else ""
            raise DataError(f"{path}:{number}: found a JSON {type(row).__name__}, expected an object{keys}")
        rows.append(row)
    if not rows:
        raise DataError(f"{path}: no records; {ONE_A_LINE}")
    if schema:
        schema.check(rows, lambda number: f"{path}:{number}")
    return rows


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each line of a file without its end, and its number. Broken compression is named with the line that could not be read."""
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                yield number, raw.rstrip(b"\r\n")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}:{number + 1}: not gzip, or cut short ({error}); get the file again") from error


def _existing(path: Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file; run the stage that writes it (dvc repro) first")
    return path


def _check_writer() -> None:
    if rank() != 0:
        raise NotTheWriter


@contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _output_error(path, error) from error


def _is_failed_write(error: Exception, folder: Path) -> bool:
    """Whether an error is one of writing below `folder`, and not, say, one of a missing input."""
    system_error = _system_error(error)
    if isinstance(system_error.filename, str):
        return Path(system_error.filename).absolute().is_relative_to(folder.absolute())
    return system_error.errno in WRITE_FAILURES


def _system_error(error: Exception) -> OSError:
    """The system's error behind one of safetensors or tokenizers, which carry only its text: "File too large (os error 27)"."""
    if isinstance(error, OSError):
        return error
    number = re.search(r"\(os error (\d+)\)", str(error))
    if number:
        return OSError(int(number[1]), os.strerror(int(number[1])))
    is_full = os.strerror(errno.ENOSPC) in str(error)
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if is_full else OSError(str(error))


def _output_error(path: Path, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"{path}: the disk is full; free some space and run the stage again (nothing was left half-written)")
    return OutputError(f"{path}: cannot be written ({error.strerror or error}); nothing was left half-written")
