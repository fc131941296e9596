"""What the libraries raise while a model or a tokenizer is loaded, as one line that names the folder, or the file that is none."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apo_bench.core.errors import ApoBenchError, ModelError, is_out_of_memory

POINTER = b"version https://git-lfs"
"""How a file begins that git-lfs left in the place of the real one."""
MAX_MESSAGE = 200


@contextmanager
def loading(folder: Path, what: str) -> Iterator[None]:
    """Turns errors of the block into ModelError.

    Args:
        folder: where the model or tokenizer lies.
        what: what is loaded, in words.

    Raises:
        ModelError: something was raised, or a file is a pointer of git-lfs.
    """
    for file in sorted(Path(folder).glob("*")):
        if file.is_file() and file.stat().st_size < 1024 and file.read_bytes().startswith(POINTER):
            raise ModelError(f"{file}: a pointer of git-lfs in the place of the file; get it with `git lfs pull`")
    try:
        yield
    except (ApoBenchError, MemoryError):
        raise
    except Exception as error:  # transformers, safetensors and tokenizers raise whatever they like, and bare `Exception` among it
        if is_out_of_memory(error):
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(f"{folder}: {what} cannot be loaded ({message[:MAX_MESSAGE]})") from error
