"""A summary is read as the stage compare writes it, or is one line that names the key. The end-to-end tests read whole ones."""

import json
import re

import pytest

from apo_bench.comparison.summary import read_summary
from apo_bench.core.errors import DataError

AT = {"gold": {"value": 1.0, "low": 0.0, "high": 2.0}}
ARM = {"kind": "arm", "method": "dpo", "reward_model": "base", "seed": 0, "rounds": {"r1": AT, "r2": AT}}
SUMMARY = {
    "profile": "tiny",
    "run": {f"{kind}_reward_models": [] for kind in ("fixed", "retrained", "gold", "own")},
    "policies": {"sft": {"kind": "reference", "rounds": {"r0": AT}}, "dpo-base": {**ARM, "seed": 0}},
    "replicates": {"sft-s0": {"kind": "reference", "seed": 0, "rounds": {"r0": AT}}, "dpo-base-s0": ARM},
    "reward_models": {"base": {"human_accuracy": 0.7}, "dpo-base-s0": {"r1": {}, "r2": {}}, "dpo-base": {"r1": {}, "r2": {}}},
    "differences": {},
    "claims": {"primary": "gold", "families": {"gold": {}}},
    "further": 1,
}


def test_a_whole_one_is_read_as_it_is(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    assert read_summary(tmp_path / "summary.json") == SUMMARY


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("policies", None, "policies: field required"),
        ("policies.sft", None, "policies.sft: missing key"),
        ("policies.sft.rounds", {}, "policies.sft.rounds.r0: missing key"),
        ("policies.dpo-base.rounds.r2", None, "policies.dpo-base.rounds.r2: missing key"),
        ("replicates", {}, "replicates: no arms"),
        ("replicates.sft-s0", None, "replicates.sft-s0: missing key"),
        ("replicates.dpo-base-s0.seed", None, "replicates.dpo-base-s0.seed: missing key"),
        ("replicates.dpo-base-s0.rounds.r1.gold.low", None, "replicates.dpo-base-s0.rounds.r1.gold.low: field required"),
        ("reward_models.dpo-base.r1", None, "reward_models.dpo-base.r1: missing key"),
        ("reward_models.dpo-base-s0", None, "reward_models.dpo-base-s0: missing key"),
        ("claims", 3, "claims: input should be a valid dictionary"),
        ("judge", {"judge": "m", "arms": {}}, "judge.human: field required"),
    ],
)
def test_what_it_lacks_is_named(tmp_path, key, value, fault):
    summary = json.loads(json.dumps(SUMMARY))
    *path, last = key.split(".")
    place = summary
    for part in path:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    file = tmp_path / "summary.json"
    file.write_text(json.dumps(summary))
    line = re.escape(f"{file}: {fault}; not as the stage compare writes it, run it (dvc repro) again")
    with pytest.raises(DataError, match=f"^{line}$"):
        read_summary(file)
