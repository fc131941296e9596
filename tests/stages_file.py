"""The stages of dvc.yaml as they are written, those of `foreach` with what they do at the top."""

from pathlib import Path
from typing import Any

import yaml


def written_stages(root: Path) -> dict[str, dict[str, Any]]:
    """By group name."""
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in stages.items()}
