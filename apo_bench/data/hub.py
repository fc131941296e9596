"""Getting files from the Hugging Face hub. The only code that downloads from there."""

import os
import shutil
from pathlib import Path

from apo_bench.config.sections import HubRevision
from apo_bench.core.errors import MissingInputError


def download(source: HubRevision, kind: str, folder: Path, patterns: list[str], hint: str) -> str:
    """Gets files of a repository of the hub at its commit, and says so.

    Args:
        source: the repository.
        kind: `dataset` or `model`.
        folder: where the files go.
        patterns: which files.
        hint: what else one may do.

    Raises:
        MissingInputError: the hub does not have them, or is out of reach.
    """
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
    return f"{source.name} at {source.revision[:8]} from the hub"
