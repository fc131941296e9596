"""In which inputs arms differ, and which of the differences belong to method, reward model or seed, on a lock file made by hand.

tests/pipeline/test_end_to_end.py tries the guard on what the stages of a real run record.
"""

from pathlib import Path

import pytest
from click.testing import CliRunner
from lock_file import LockFile

from apo_bench import cli
from apo_bench.core.errors import ComparabilityError, MissingInputError
from apo_bench.core.layout import Arm
from apo_bench.provenance.comparability import check_comparable, compare_inputs, find_arm, read_inputs, recorded_inputs, unlike_arms
from apo_bench.provenance.lock import Lock

ROUNDS = ["r1", "r2"]


@pytest.fixture
def lock_file(tmp_path):
    """Two methods with both reward models, and one more seed."""
    made = LockFile(tmp_path, Path("out/results"))
    made.start()
    for method in ("dpo", "rjs"):
        for kind in ("base", "adversarial"):
            made.arm(method, kind)
    return made


def inputs_of(lock_file, *arms):
    """What the arms recorded."""
    lock = Lock(lock_file.save())
    return {arm: recorded_inputs(lock, arm, ROUNDS, ["r2"], Path("out/models"), Path("out/results")) for arm in arms}


def arm(method, kind, seed=0):
    return Arm(method, kind, seed)


def faults(lock_file, first, second):
    """What forbids to rank two arms, as (step, input)."""
    inputs = inputs_of(lock_file, first, second)
    return [(d.step, d.name) for d in compare_inputs((first, second), tuple(inputs.values())) if d.belongs_to is None]


def test_twins_differ_in_what_belongs_to_method_and_reward_model_alone(lock_file):
    arms = [arm(method, kind) for method in ("dpo", "rjs") for kind in ("base", "adversarial")]
    inputs = inputs_of(lock_file, *arms)
    assert unlike_arms(inputs) == {}
    found = compare_inputs((arms[0], arms[3]), (inputs[arms[0]], inputs[arms[3]]))
    belonging = {(d.step, d.name): d.belongs_to for d in found}
    assert belonging["policy", "code of the method"] == "method"
    assert belonging["reward model", "reward.human_weight"] == belonging["reward model", "code of the stage"] == "reward model"
    assert compare_inputs((arms[0], arms[0]), (inputs[arms[0]], inputs[arms[0]])) == []


def test_seeds_in_the_names_may_differ_others_not(lock_file):
    lock_file.start(seed=1)
    lock_file.arm("dpo", "base", seed=1)
    assert faults(lock_file, arm("dpo", "base"), arm("dpo", "base", 1)) == []
    lock_file.stages["align@rjs-base-s0-r2"]["cmd"] = "exec python -m pipeline align --seed 5 --round r2"
    assert faults(lock_file, arm("dpo", "base"), arm("rjs", "base")) == [("policy", "seed")]


def test_what_a_replicate_has_made_of_its_own_belongs_to_its_seed(lock_file):
    """Labels, SFT and reward models differ from seed to seed; their settings must not."""
    lock_file.start(seed=1)
    lock_file.arm("dpo", "adversarial", seed=1)
    inputs = inputs_of(lock_file, arm("dpo", "adversarial"), arm("dpo", "adversarial", 1))
    assert unlike_arms(inputs) == {}
    found = {d.name: d.belongs_to for d in compare_inputs(tuple(inputs), tuple(inputs.values()))}
    assert found["out/labels/s*"] == found["SFT policy, the reference"] == "seed"
    lock_file.stages["sft@1"]["params"]["params.yaml"]["compute"]["dtype"] = "bfloat16"
    assert faults(lock_file, arm("dpo", "adversarial"), arm("dpo", "adversarial", 1)) == [("SFT", "compute.dtype")]


def test_a_replicate_that_is_judged_is_like_one_that_is_not(lock_file, params):
    """judge.seeds may be fewer than run.seeds."""
    lock_file.start(seed=1)
    lock_file.arm("dpo", "base", seed=1)
    run = params.run.model_copy(update={"later_rounds": params.run.later_rounds[:1]})
    judge = params.judge.model_copy(update={"seeds": [0], "rounds": ["r2"]})
    both = [arm("dpo", "base"), arm("dpo", "base", 1)]
    lock = Lock(lock_file.save())
    inputs = read_inputs(lock, params.model_copy(update={"run": run, "judge": judge}), both, Path("out/models"), Path("out/results"))
    assert [any(step == "judge" for step, _ in inputs[one]) for one in both] == [True, False]
    assert unlike_arms(inputs) == {}


def test_only_twins_and_replicates_are_compared_with_each_other(lock_file):
    """What sets DPO of one replicate apart from RJS of another is said of DPO's two, and of the two of a replicate."""
    lock_file.start(seed=1)
    lock_file.arm("dpo", "base", seed=1)
    lock_file.left[Path("out/results/s1/arms/dpo-base/r2/align/environment.json")] = {"torch": "2.12.1", "tokenizer": "t", "device": "cpu"}
    unlike = unlike_arms(inputs_of(lock_file, arm("dpo", "base"), arm("rjs", "base"), arm("dpo", "base", 1)))
    assert list(unlike) == [("dpo-base-s0", "dpo-base-s1")]
    assert [str(fault) for fault in unlike["dpo-base-s0", "dpo-base-s1"]] == ["policy r2: torch: 2.13.0 | 2.12.1"]


def test_arms_of_a_replicate_start_from_the_same_policy(lock_file):
    """Only between replicates may the SFT policy, the labels and the test reward model differ."""
    for stage, path in (("align@rjs-base-s0-r1", "out/models/s0/sft"), ("evaluate@rjs-base-s0-r2", "out/models/s0/reward/all")):
        [dep] = [dep for dep in lock_file.stages[stage]["deps"] if dep["path"] == path]
        dep["md5"] = "0" * 32
    found = faults(lock_file, arm("dpo", "base"), arm("rjs", "base"))
    assert found == [("policy", "SFT policy, the reference"), ("evaluation", "out/models/s*/reward/all")]


@pytest.mark.parametrize("kind", ["no_adversarial", "oracle"])
def test_controls_are_ranked_beside_the_game(lock_file, kind):
    lock_file.arm("dpo", kind)
    for other in ("base", "adversarial"):
        assert faults(lock_file, arm("dpo", other), arm("dpo", kind)) == []


def test_rates_belong_to_the_method_how_much_is_learnt_from_does_not(lock_file):
    for round_id in ROUNDS:
        lock_file.stages[f"align@rjs-base-s0-{round_id}"]["params"]["params.yaml"]["methods.rjs"] |= {"learning_rates": [0.5], "beta": 3.0}
    assert faults(lock_file, arm("dpo", "base"), arm("rjs", "base")) == []
    lock_file.stages["align@rjs-base-s0-r2"]["params"]["params.yaml"]["methods.rjs"]["batch_size"] = 32
    assert faults(lock_file, arm("dpo", "base"), arm("rjs", "base")) == [("policy", "method.batch_size")]


def test_within_one_method_nothing_of_it_may_differ(lock_file):
    for round_id in ROUNDS:
        lock_file.stages[f"align@dpo-adversarial-s0-{round_id}"]["params"]["params.yaml"]["methods.dpo"]["learning_rates"] = [0.5]
    assert faults(lock_file, arm("dpo", "base"), arm("dpo", "adversarial")) == [("policy", "method.learning_rates")]


def test_reward_models_may_differ_in_weights_not_in_how_much_they_learn_from(lock_file):
    lock_file.stages["adversarial_reward@dpo-adversarial-s0-r2"]["params"]["params.yaml"]["reward.adversarial"]["human_weight"] = 0.0
    assert faults(lock_file, arm("dpo", "base"), arm("dpo", "adversarial")) == []
    assert faults(lock_file, arm("rjs", "adversarial"), arm("dpo", "adversarial")) == [("reward model", "reward.human_weight")]
    lock_file.stages["adversarial_reward@dpo-adversarial-s0-r2"]["params"]["params.yaml"]["reward.adversarial"]["epochs"] = 2
    assert faults(lock_file, arm("dpo", "base"), arm("dpo", "adversarial")) == [("reward model", "reward.epochs")]


def test_samples_against_golden_are_drawn_as_the_others_are(lock_file):
    lock_file.stages["sample_rm@dpo-adversarial-s0-r2"]["params"]["params.yaml"]["sampling.train"] = {"temperature": 0.1, "num_samples": 4}
    assert faults(lock_file, arm("dpo", "base"), arm("dpo", "adversarial")) == [("samples against golden", "sampling.train.temperature")]


def test_refusal_names_arms_inputs_values_and_what_to_do(lock_file):
    lock_file.left[Path("out/results/s0/arms/dpo-base/r2/align/environment.json")] = {"torch": "2.12.1", "tokenizer": "t", "device": "cpu"}
    unlike = unlike_arms(inputs_of(lock_file, *(arm(method, kind) for method in ("dpo", "rjs") for kind in ("base", "adversarial"))))
    assert len(unlike) == 3
    with pytest.raises(ComparabilityError) as caught:
        check_comparable(unlike, ["seed"])
    message = str(caught.value)
    assert "\n" not in message and "policy r2: torch: 2.12.1 | 2.13.0" in message
    assert (
        "dpo-base-s0 and dpo-adversarial-s0" in message
        and "3 pairs of arms" in message
        and "name the inputs in compare.may_differ" in message
    )
    check_comparable(unlike, ["torch"])
    check_comparable({}, [])


def test_unknown_arm_names_near_ones(params):
    with pytest.raises(ComparabilityError, match=r"no arm 'dpo-bse-s0' in the run; did you mean dpo-base-s0.*known: rjs-base-s0, "):
        find_arm("dpo-bse-s0", params.run.arms)


def test_an_arm_that_has_not_run_is_named(lock_file):
    with pytest.raises(MissingInputError, match=r"no stage made out/models/s0/arms/kto-base/r1/policy"):
        inputs_of(lock_file, arm("kto", "base"))


def test_diff_lists_inputs_with_both_values(lock_file, root, tmp_path, monkeypatch):
    text = (root / "params.yaml").read_text().replace("  - id: r3\n    previous: r2\n", "").replace("  - r3\n", "  - r1\n  - r2\n")
    (tmp_path / "params.yaml").write_text(text)
    lock_file.left[Path("out/results/s0/arms/dpo-base/r2/evaluation/environment.json")] = {"torch": "2.12.1"}
    lock_file.save()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    like = CliRunner().invoke(cli.main, ["diff", "rjs-base-s0", "rjs-adversarial-s0"])
    assert like.exit_code == 0 and "none forbids to rank them" in like.stdout and "reward.human_weight" in like.stdout
    unlike = CliRunner().invoke(cli.main, ["diff", "rjs-base-s0", "dpo-base-s0"])
    assert unlike.exit_code == 1 and "2.13.0" in unlike.stdout and "2.12.1" in unlike.stdout and "neither" in unlike.stdout
    wrong = CliRunner().invoke(cli.main, ["diff", "rjs-base-s0", "dpo-base"])
    assert wrong.exit_code == 1 and wrong.stderr.startswith("apo-bench diff: no arm 'dpo-base'") and wrong.stderr.count("\n") == 1
