"""What policies cost, on a lock made by hand. Tokens trained: base model 1000, SFT 100, RM_base 50, a retrained one 60, alignment 30."""

import json
from pathlib import Path

import pytest
from lock_file import COUNTS, LockFile

from apo_bench.config.sections import Run
from apo_bench.core.errors import DataError, MissingInputError
from apo_bench.provenance.budgets import policy_models, read_budgets
from apo_bench.provenance.lock import Lock

ARMS = ["dpo-base-s0", "dpo-adversarial-s0"]
LISTS = {"reward_models": ["base", "adversarial"], "fixed_reward_models": ["base"], "retrained_reward_models": ["adversarial"]}
LISTS |= {"golden_start_reward_models": [], "sft_start_reward_models": ["base", "adversarial"]}
RUN = Run(methods=["dpo"], **LISTS, gold_reward_models=[], own_reward_models=[], later_rounds=[{"id": "r2", "previous": "r1"}], seeds=[0])
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


@pytest.fixture
def replicated(lock_file):
    """The base arm in two replicates and with the controls; an alignment of the second has trained on 20 tokens more."""
    lock_file.start(seed=1)
    lock_file.arm("dpo", "base", seed=1)
    for kind in ("no_adversarial", "oracle"):
        for seed in (0, 1):
            lock_file.arm("dpo", kind, seed)
    lock_file.arm("dpo", "adversarial", seed=1)
    longer = COUNTS["align"] | {"num_tokens_trained": 50}
    lock_file.left[Path("out/results/s1/arms/dpo-base/r2/align/metrics.json")] = longer
    kinds = ["base", "no_adversarial", "adversarial", "oracle"]
    lists = {"fixed_reward_models": kinds[:2], "gold_reward_models": kinds[-1:], "reward_models": kinds}
    run = RUN.model_copy(update={"seeds": [0, 1], **lists})
    return read_budgets(Lock(lock_file.save()), policy_models(Path("out/models"), run, ["sft", "golden", "best_of_n"]), with_seconds=True)


def test_the_mean_over_replicates(replicated):
    members = ["dpo-base-s0", "dpo-base-s1"]
    assert [replicated.total(name, "r2")["num_tokens_trained"] for name in members] == [1210, 1230]
    assert replicated.mean(members, "r2")["num_tokens_trained"] == 1220
    assert replicated.mean(members[:1], "r2") == replicated.total(members[0], "r2")
    only = ["align@dpo-base-s0-r2", "align@dpo-base-s1-r2"]
    assert replicated.mean(members, "r2", only)["num_tokens_trained"] == 40


def test_replicates_share_the_base_model_alone(replicated):
    both = {name for name, users in replicated.users.items() if len({user[-1] for user in users}) > 1}
    assert both == {"base_model"}
    assert set(replicated.users["sft@1"]) == {name for name, _ in replicated.made_by if name.endswith("-s1")}


def test_controls_cost_the_reward_model_that_they_learn_from_and_gold_costs_nothing(replicated):
    """RM_base is no part of no_adversarial, which is trained from the base model; no reward model is one of oracle."""
    control, gold = (set(replicated.made_by[f"dpo-{kind}-s0", "r2"]) for kind in ("no_adversarial", "oracle"))
    assert {name for name in control if "reward" in name} == {"reward@no_adversarial-0"}
    assert not [name for name in gold if "reward" in name or name.startswith("score")]
    total = replicated.total("dpo-oracle-s0", "r2")
    assert (total["num_reward_calls"], total["num_samples"], total["num_tokens_trained"]) == (0, 16, 1160)


def test_the_best_of_n_is_no_model_so_that_it_has_no_budget(replicated):
    references = {name for name, round_id in replicated.made_by if round_id == "r0"}
    assert references == {"sft-s0", "sft-s1", "golden-s0", "golden-s1"}


def test_seconds_are_those_of_the_stages(budgets, lock_file):
    made_by = budgets.made_by["dpo-base-s0", "r1"]
    assert len(made_by) == 6  # base model, SFT, samples, RM_base, scores, alignment
    assert budgets.total("dpo-base-s0", "r1")["wall_seconds"] == 12.0
    assert "wall_seconds" not in read_budgets(Lock(lock_file.file), MODELS).summary()["sft-s0"]["r0"]


def test_what_is_missing_is_named(lock_file):
    lock_file.save()
    file = lock_file.file.parent / "out/results/s0/first/sample/lm/metrics.json"
    file.write_text(json.dumps({"mean_gold": 8}))
    with pytest.raises(DataError, match=r"sample/lm/metrics.json: none of num_samples, .*; run the stage sample_lm@first-r1"):
        read_budgets(Lock(lock_file.file), MODELS)
    file.unlink()
    with pytest.raises(MissingInputError, match=r"sample/lm/metrics.json: no such file"):
        read_budgets(Lock(lock_file.file), MODELS)
    with pytest.raises(MissingInputError, match=r"no stage made out/models/s0/arms/mine-base/r1/policy"):
        read_budgets(Lock(lock_file.file), policy_models(Path("out/models"), RUN.model_copy(update={"methods": ["mine"]}), []))
