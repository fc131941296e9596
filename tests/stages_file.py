"""The stages of dvc.yaml as they are written, those of `foreach` with what they do at the top."""

from pathlib import Path
from typing import Any

import yaml


def with_own_models(params: dict[str, Any]) -> dict[str, Any]:
    """The params of a profile, with the policy `mine` and the reward model `judge`, which trains policies as well."""
    run, kinds = params["run"], ("reward_models", "sft_start_reward_models")
    return params | {
        "run": run | {key: [*run[key], "judge"] for key in (*kinds, "own_reward_models")},
        "references": params["references"] | {"own": {"mine": {"folder": "inputs/mine"}}},
        "reward": params["reward"] | {"own": {"judge": {"folder": "inputs/judge"}}},
    }


def written_stages(root: Path) -> dict[str, dict[str, Any]]:
    """By group name."""
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in stages.items()}
