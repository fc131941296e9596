"""What policies cost, on a lock made by hand. Tokens trained: base model 1000, SFT 100, RM_base 50, a retrained one 60, alignment 30."""

import json
from pathlib import Path

import pytest
from lock_file import LockFile

from apo_bench.budget import LEFT_BY, policy_models, read_budgets
from apo_bench.core.errors import DataError, MissingInputError
from apo_bench.core.results import TIMED
from apo_bench.core.sections import Run
from apo_bench.tracking.lock import Lock

ARMS = ["dpo-base-s0", "dpo-adversarial-s0"]
LISTS = {"reward_models": ["base", "adversarial"], "fixed_reward_models": ["base"], "retrained_reward_models": ["adversarial"]}
RUN = Run(methods=["dpo"], **LISTS, gold_reward_models=[], later_rounds=[{"id": "r2", "previous": "r1"}], seeds=[0])
MODELS = policy_models(Path("out/models"), RUN, ["sft", "golden", "best_of_n"])


@pytest.fixture
def lock_file(tmp_path):
    """One method with both reward models, two rounds."""
    made = LockFile(tmp_path, Path("out/results"))
    made.start()
    for kind in ("base", "adversarial"):
        made.arm("dpo", kind)
    return made


@pytest.fixture
def budgets(lock_file):
    """With seconds."""
    return read_budgets(Lock(lock_file.save()), MODELS, with_seconds=True)


def test_an_arm_costs_all_that_it_comes_from(budgets):
    """RM_base is trained once, the retrained one anew and on samples of its own; RM_all and evaluations make no policy."""
    base = {"num_samples": 8, "num_reward_calls": 8, "num_tokens_generated": 40, "num_tokens_read": 170, "num_tokens_trained": 1180}
    assert budgets.total("dpo-base-s0", "r1").items() >= base.items()
    twice = {"num_samples": 16, "num_reward_calls": 16, "num_tokens_generated": 80, "num_tokens_read": 340, "num_tokens_trained": 1210}
    assert budgets.total("dpo-base-s0", "r2").items() >= twice.items()
    retrained = {"num_samples": 32, "num_reward_calls": 16, "num_tokens_generated": 160, "num_tokens_read": 380, "num_tokens_trained": 1280}
    assert budgets.total("dpo-adversarial-s0", "r2").items() >= retrained.items()
    assert budgets.total("golden-s0", "r0")["num_tokens_trained"] == 1107
    assert not {"reward@all-0", "prepare"} & set(budgets.stages)


def test_shared_stages_count_whole_for_each_and_are_told_apart(budgets):
    assert set(budgets.shared) == {"base_model", "sft@0", "sample_lm@first-r1"}
    assert budgets.users["sample_lm@first-r1"] == ARMS and budgets.users["sft@0"] == ["sft-s0", "golden-s0", *ARMS]
    summary = budgets.summary()["dpo-adversarial-s0"]["r2"]
    assert summary["shared"]["num_tokens_trained"] == 1100 and summary["shared"]["num_samples"] == 8


def test_compute_is_two_a_token_read_or_generated_and_six_a_token_trained(budgets):
    whole = budgets.total("dpo-base-s0", "r1")
    assert budgets.flop(whole) == 10 * (2 * (40 + 170) + 6 * 1180) == budgets.summary()["dpo-base-s0"]["r1"]["flop"]


def test_the_mean_over_replicates(budgets):
    both = budgets.mean(ARMS, "r2")
    assert both["num_tokens_trained"] == (1210 + 1280) / 2 and budgets.mean(ARMS[:1], "r2") == budgets.total(ARMS[0], "r2")


def test_seconds_are_those_of_the_stages(budgets, lock_file):
    made_by = budgets.made_by["dpo-base-s0", "r1"]
    assert len(made_by) == 6  # base model, SFT, samples, RM_base, scores, alignment
    assert budgets.total("dpo-base-s0", "r1")["wall_seconds"] == 12.0
    assert "wall_seconds" not in read_budgets(Lock(lock_file.file), MODELS).summary()["sft-s0"]["r0"]


def test_all_stages_that_are_timed_count(root):
    assert set(LEFT_BY) == set(TIMED)


def test_what_is_missing_is_named(lock_file):
    lock_file.save()
    file = lock_file.file.parent / "out/results/s0/first/sample/lm/metrics.json"
    file.write_text(json.dumps({"num_samples": 8}))
    with pytest.raises(
        DataError, match=r"sample/lm/metrics.json: no num_tokens_generated, num_tokens_read; run the stage sample_lm@first-r1"
    ):
        read_budgets(Lock(lock_file.file), MODELS)
    file.unlink()
    with pytest.raises(MissingInputError, match=r"sample/lm/metrics.json: no such file"):
        read_budgets(Lock(lock_file.file), MODELS)
    with pytest.raises(MissingInputError, match=r"no stage made out/models/s0/arms/mine-base/r1/policy"):
        read_budgets(Lock(lock_file.file), policy_models(Path("out/models"), RUN.model_copy(update={"methods": ["mine"]}), []))
