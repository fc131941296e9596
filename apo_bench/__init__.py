"""apo-bench: does adversarial preference optimisation, or another method, beat the baselines?"""

import os
import tempfile
from pathlib import Path

# No library that we use may report home, none may try the network unless the user says so, and none chatters.
for _name, _value in {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # a bar for each small model loaded
    "VLLM_NO_USAGE_STATS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TRANSFORMERS_VERBOSITY": "error",  # a report for each fresh reward head
    "TOKENIZERS_PARALLELISM": "false",
}.items():
    os.environ.setdefault(_name, _value)


def _is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made if need be: what the system says of rights is not all that stands in the way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _home() -> Path:
    home = os.environ.get("HF_HOME")
    try:
        return Path(home) if home else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    except RuntimeError:  # a user without a home
        return Path("/nonexistent")


# `evaluate` and `datasets` copy modules and tables to the home folder before they use them, and a container may have none.
if not _is_writable(_home()):
    _scratch = Path(tempfile.gettempdir()) / f"apo-bench-cache-{os.getuid()}"
    for _name in ("HF_MODULES_CACHE", "HF_METRICS_CACHE", "HF_EVALUATE_CACHE", "HF_DATASETS_CACHE"):
        os.environ.setdefault(_name, str(_scratch / _name.lower()))
