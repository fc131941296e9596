"""Views of the runs that a user wants to see first, as MLflow's own button "Share" keeps them: in tags of the experiment."""

import json
import uuid
from typing import Any

from apo_bench.tracking.runs import SHOWN

TAG = "mlflow.sharedViewState."
"""With the name of a view: its state as JSON. `#/experiments/ID/runs?viewStateShareKey=NAME` opens it."""
COLUMNS = ("gold", "reward_all", "reward_all_equal_length", "win_rate_gold", "win_rate_reward_all", "kl_to_sft", "length")
SECTIONS = ("evaluation", "reward_model", "judge", "judge_versus_base", "game", "samples", "training", "budget")
"""Charts of the metrics under these, in this order; MLflow's own is that of the alphabet."""
NAMESPACE = uuid.UUID("2f0d7f53-6d0f-4a38-9c28-6a5b3c9d6a11")
"""Of the charts' ids: any, but always the same, so that equal views are equal bytes."""


def views(has_gold: bool) -> dict[str, str]:
    """The tags that hold the views `arms`, `replicates` and `reward_models`: columns, charts of what matters first, the best runs on top.

    Args:
        has_gold: whether the true reward is known.
    """
    kinds = {"arms": "arm", "replicates": "replicate", "reward_models": "reward_model"}
    return {f"{TAG}{name}": json.dumps(_state(kind, has_gold), sort_keys=True) for name, kind in kinds.items()}


def _state(kind: str, has_gold: bool) -> dict[str, Any]:
    is_reward = kind == "reward_model"
    shown = [name for name in COLUMNS if has_gold or "gold" not in name]
    rewards = ["human_accuracy", *(["gold_accuracy"] if has_gold else []), "ece"]
    metrics = [f"reward_model/{name}" for name in rewards] if is_reward else [f"evaluation/{name}" for name in shown]
    metrics += [] if is_reward else ["reward_model/human_accuracy"]
    names = ([] if is_reward else ["method"]) + ["reward_model"] + ([] if kind == "arm" else ["seed"])
    columns = [*(f"tags.`{name}`" for name in names), *(f"metrics.`{key}`" for key in metrics)]
    order = "reward_model/human_accuracy" if is_reward else f"evaluation/{'gold' if has_gold else 'reward_all'}"
    return {
        "searchFilter": f"tags.kind = '{kind}'",
        "orderByKey": f"metrics.`{order}`",
        "orderByAsc": False,
        "selectedColumns": columns,
        "runsHiddenMode": "FIRST_20_RUNS",
        "hideEmptyCharts": True,
        "compareRunSections": [
            {"uuid": _id(name), "name": name, "display": True, "isReordered": True, "deleted": False, "isGenerated": True, "columns": 2}
            for name in SECTIONS
        ],
        "compareRunCharts": [_chart(key) for key in SHOWN],
        "isAccordionReordered": True,
    }


def _chart(key: str) -> dict[str, Any]:
    """A line over the rounds."""
    section, name = key.split("/")
    return {
        "uuid": _id(key),
        "type": "LINE",
        "deleted": False,
        "isGenerated": True,
        "metricSectionId": _id(section),
        "metricKey": key,
        "displayName": name,
        "runsCountToCompare": 20,
        "lineSmoothness": 0,
        "scaleType": "linear",
        "xAxisScaleType": "linear",
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "range": {},
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _id(name: str) -> str:
    return str(uuid.uuid5(NAMESPACE, name))
