"""params.yaml: whatever is wrong is one line that names the file, the key and, for a misspelt one, the near names."""

import copy
import re
import sys
from dataclasses import asdict

import forked
import pytest
import yaml
from dvc.utils.serialize import parse_yaml

from apo_bench.config.params import Params, load_params
from apo_bench.core.errors import ConfigError


@pytest.fixture
def load(root, tmp_path):
    """Loads the params.yaml of the repository with changes: a dict from dotted keys to values."""
    raw = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))

    def load_changed(changes) -> Params:
        changed = copy.deepcopy(raw)
        for dotted, value in changes.items():
            *parents, key = dotted.split(".")
            section = changed
            for parent in parents:
                section = section[int(parent) if isinstance(section, list) else parent]
            section[key] = value
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(changed), encoding="utf-8")
        return load_params(path)

    return load_changed


def message_of(load, changes) -> str:
    with pytest.raises(ConfigError) as caught:
        load(changes)
    message = str(caught.value)
    assert "params.yaml: " in message and "\n" not in message
    return message.split("params.yaml: ", 1)[1]


WITHOUT_TRANSFORMERS = """
import sys
sys.modules["transformers"] = None
from pathlib import Path
from apo_bench.config.params import load_params
print(*(load_params(Path(file)).profile for file in sys.argv[1:]))
"""


def test_params_are_read_without_transformers(root):
    """Which takes seconds to import, and whoever starts stages has no other use for it."""
    files = [str(file) for file in (root / "params.yaml", root / "profiles/ablations/params.yaml")]
    assert forked.run(root, sys.executable, "-c", WITHOUT_TRANSFORMERS, *files).stdout == "tiny ablations\n"


def test_params_of_the_repository_load(root):
    params = load_params(root / "params.yaml")
    assert params.run.rounds == [f"r{number}" for number in range(1, len(params.run.later_rounds) + 2)]
    for name in params.run.methods:
        method = params.method(name)
        assert asdict(method.hyperparameters) == params.model_dump()["methods"][name]
    for name in params.run.retrained_reward_models:
        assert params.reward_model(name).human_weight == params.reward[name]["human_weight"]


def test_params_cannot_be_changed(params):
    with pytest.raises(ValueError, match="frozen"):
        params.sft.epochs = 3


UNKNOWN = {
    "a method": ({"run.methods": ["dop", "rjs"]}, "methods: no method 'dop'", "did you mean dpo?"),
    "at the top": ({"sampels": 3}, "sampels: unknown key", "did you mean sampling"),
    "nested": ({"sampling.train.temprature": 0.3}, "sampling.train.temprature: unknown key", "did you mean temperature?"),
    "in a stage": ({"prepare.num_rm_prompt": 3}, "prepare.num_rm_prompt: unknown key", "did you mean num_rm_prompts"),
    "in a method": ({"methods.dpo.betta": 0.1}, "methods.dpo.betta: unknown key", "did you mean beta?"),
    "in a reward model": ({"reward.base.epoch": 1}, "reward.base.epoch: unknown key", "did you mean epochs?"),
    "in a retrained reward model": ({"reward.adversarial.human_wait": 1.0}, "human_wait: unknown key", "did you mean human_weight?"),
}


@pytest.mark.parametrize(("changes", "where", "near"), UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_names_get_the_near_ones(load, changes, where, near):
    message = message_of(load, changes)
    assert where in message and near in message and " known: " in message


HINT = "input should be a valid number"
LISTS = (
    "run: reward_models must be those of fixed_reward_models, retrained_reward_models, gold_reward_models, golden_start_reward_models, "
    "own_reward_models, "
)
ROUNDS = "run: later_rounds has "
KINDS = ["base", "no_adversarial", "adversarial", "oracle"]
WRONG = {
    "text for a rate": ({"sft.learning_rate": "fast"}, f"sft.learning_rate: found 'fast'; {HINT}"),
    "text for a rate of a method": ({"methods.rjs.learning_rates": ["fast"] * 3}, f"methods.rjs.learning_rates.0: found 'fast'; {HINT}"),
    "text for a count": ({"sft.epochs": "3"}, "sft.epochs: found '3'; input should be a valid integer"),
    "fraction for a count": ({"sft.epochs": 1.5}, "sft.epochs: found 1.5; "),
    "truth for a count": ({"sft.epochs": True}, "sft.epochs: found True; "),
    "nothing": ({"sft.epochs": None}, "sft.epochs: found None; "),
    "zero epochs": ({"references.golden.epochs": 0}, "references.golden.epochs: found 0; input should be greater than 0"),
    "negative beta": ({"methods.dpo.beta": -0.1}, "methods.dpo.beta: found -0.1; input should be greater than 0"),
    "rate that is not a number": ({"sft.learning_rate": float("nan")}, "sft.learning_rate: found nan; "),
    "name that breaks a path": ({"profile": "ti/ny"}, "profile: found 'ti/ny'; "),
    "round that is no round": ({"run.later_rounds.0.id": "second"}, "run.later_rounds.0.id: found 'second'; "),
    "one sample for DPO": ({"run.methods": ["dpo"], "sampling.train.num_samples": 1}, "sampling.train.num_samples: 1 is too few for dpo"),
    "two test responses": ({"sampling.test.num_samples": 2}, "sampling: test.num_samples is 2, expected 1"),
    "no learning rates": ({"methods.rrhf.learning_rates": []}, "methods.rrhf.learning_rates: found []; "),
    "one learning rate, not a list": ({"methods.rrhf.learning_rates": 0.001}, "methods.rrhf.learning_rates: found 0.001; "),
    "learning rate of 1": ({"methods.rrhf.learning_rates": [0.001, 1.0]}, "methods.rrhf.learning_rates.1: found 1.0; "),
    "no section": ({"methods": {"rjs": {}}, "run.methods": ["dpo"]}, "methods.dpo: no such section"),
    "section that is no mapping": ({"methods.dpo": 3}, "methods.dpo: found 3; "),
    "source that is none": (
        {"prepare.source": "hf"},
        "prepare.source: found 'hf', expected a file of sources/, one of embedded, hh, preferences; did you mean hh?",
    ),
    "value in a section of two kinds": ({"prepare.num_rm_prompts": 0}, "prepare.num_rm_prompts: found 0; "),
    "key in a section of two kinds": ({"base_model.num_layer": 3}, "base_model.num_layer: unknown key; did you mean num_layers"),
    "key in a section or null": ({"compute.lora": {"rank": 8, "alpha": 16, "target": []}}, "compute.lora.target: unknown key; "),
    "frozen layers of a fresh model": ({"compute.frozen_layers": 1}, "compute.frozen_layers: found 1, expected 0 where base_model."),
    "number for a name": ({"methods.rjs": {1: 2}}, "methods.rjs: found 1; input should be a valid string"),
    "hyperparameter missing": ({"methods.rjs": {"epochs": 1}}, "methods.rjs.learning_rates: missing key"),
    "not among retrained": (
        {"run.retrained_reward_models": []},
        f"{LISTS}['base', 'no_adversarial', 'oracle']; found ['base', 'no_adversarial', 'adversarial', 'oracle']",
    ),
    "not among reward models": (
        {"run.reward_models": ["base"]}, f"{LISTS}['base', 'no_adversarial', 'adversarial', 'oracle']; found ['base']",
    ),
    "reward model without section": (
        {key: ["base", "wgan", "no_adversarial", "oracle"] for key in ("run.reward_models", "run.sft_start_reward_models")}
        | {"run.retrained_reward_models": ["wgan"]},
        "reward.wgan: no such section",
    ),
    "fixed that is retrained": (
        {"run.fixed_reward_models": ["base", "adversarial"], "run.retrained_reward_models": ["no_adversarial"]},
        "run: adversarial is a reward model that is trained in each round; name it in retrained_reward_models",
    ),
    "start of an arm left out": (
        {"run.sft_start_reward_models": ["base"]},
        "run: sft_start_reward_models must be reward_models without golden_start_reward_models, ['base', ",
    ),
    "gold by another name": ({"run.gold_reward_models": ["gold"]}, "run: gold_reward_models can have oracle; found gold"),
    "retrained that is fixed": (
        {"run.fixed_reward_models": ["base"], "run.retrained_reward_models": ["no_adversarial", "adversarial"]},
        "run: no_adversarial is a reward model that is trained once a replicate; name it in fixed_reward_models",
    ),
    "gold among those that are trained": (
        {"run.gold_reward_models": [], "run.retrained_reward_models": ["oracle", "adversarial"]}, "run: oracle is no reward model that is",
    ),
    "too few further pairs": (
        {"prepare.num_further_pairs": 1}, "prepare.num_further_pairs: 1, expected ",
    ),
    "own policy beside golden": ({"references.mine": {"folder": "a"}}, "references: mine is a policy of your own; write it one level"),
    "own policy of a name that is taken": ({"references.own": {"human": {"folder": "a"}}}, "references: own.human: there is a policy of"),
    "own policy without a folder": ({"references.own": {"mine": {}}}, "references.own.mine.folder: missing key"),
    "own reward model of a name that is taken": ({"reward.own": {"all": {"folder": "a"}}}, "reward.own.all: the name is taken"),
    "own reward model without a folder": ({"reward.own": {"mine": {"path": "a"}}}, "reward.own.mine.path: unknown key"),
    "own reward model that is not there": (
        {"reward.own": {"mine": {"folder": "a"}}}
        | {"run.own_reward_models": ["main"]}
        | {f"run.{key}": [*KINDS, "main"] for key in ("reward_models", "sft_start_reward_models")},
        "run.own_reward_models: no main in reward.own; did you mean mine? found: mine",
    ),
    "seed to judge that is none": ({"judge.seeds": [0, 77]}, "judge.seeds: no seed 77 in the run; known: 0, 1, "),
    "seed of the game that is none": ({"game.seeds": [77]}, "game.seeds: no seed 77 in the run; known: 0, 1, "),
    "alpha 0 by another name": (
        {"reward.adversarial.adversarial_weight": 0.0}, "reward.adversarial.adversarial_weight: found 0.0; input should be greater than 0",
    ),
    "chain of rounds broken": ({"run.later_rounds.1.previous": "r1"}, ROUNDS + "{id: r3, previous: r1} where {id: r3, previous: r2} must"),
    "a round twice": (
        {"run.later_rounds": [{"id": "r2", "previous": "r1"}] * 2}, ROUNDS + "{id: r2, previous: r1} where {id: r3, previous: r2} must",
    ),
    "a method twice": ({"run.methods": ["dpo", "dpo"]}, "run: methods names something twice"),
    "more game prompts than prompts": ({"prepare.num_game_prompts": 10**6}, "prepare: num_game_prompts 1000000 is more than"),
    "round to judge that is none": ({"judge.rounds": ["r1", "r4"]}, "judge.rounds: no round 'r4' in the run; known: r1, r2, r3"),
    "judge that is none": ({"judge.provider.source": "gpt"}, "judge.provider.source: found 'gpt', expected one of 'gold', 'server', "),
    "key of a judge": ({"judge.provider.nois": 0.1}, "judge.provider.nois: unknown key; did you mean noise?"),
    "human pairs that are none": ({"judge.human_pairs": ["pairs"]}, "judge.human_pairs.0: found 'pairs'; "),
    "looks that descend": ({"claims.looks": [12, 6]}, "claims: looks must ascend; found [12, 6]"),
    "look before a verdict": ({"claims.looks": [3, 6]}, "claims: looks start at 3 seeds, expected min_seeds (5) or more"),
    "effect of nothing": ({"claims.smallest_effect": 0.0}, "claims.smallest_effect: found 0.0; input should be greater than 0"),
    "heads that do not divide": ({"base_model.num_heads": 5}, "base_model: hidden_size 96 must be a multiple of twice num_heads 5"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), WRONG.values(), ids=WRONG)
def test_wrong_values_are_named(load, changes, expected):
    assert message_of(load, changes).startswith(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + "[" * 100_000, "lists or mappings nested more than 64 deep"),
        ("a: " + "{b: " * 70 + "}" * 70, "lists or mappings nested more than 64 deep"),
        ("- " * 5000, "lists or mappings nested more than 64 deep"),
        ("a: " + "9" * 5000, "a value that cannot be read"),
        ("a: 2020-13-45", "a value that cannot be read"),
    ],
)
def test_yaml_that_no_reader_survives_is_one_line(tmp_path, text, message):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ConfigError, match=f"params.yaml: {message}") as caught:
        load_params(tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)


def test_file_that_is_missing_or_not_yaml(tmp_path):
    with pytest.raises(ConfigError, match=r"params.yaml: no such file"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("run: [")
    with pytest.raises(ConfigError, match=r"params.yaml: not YAML: did not find expected node content at line 2") as caught:
        load_params(tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)


def test_a_misspelt_required_key_gets_the_near_ones(load, params):
    train = params.sampling.train.model_dump()
    train["temprature"] = train.pop("temperature")
    message = message_of(load, {"sampling.train": train})
    assert message.startswith("sampling.train.temprature: unknown key; did you mean temperature? known: num_samples, ")


def test_a_misspelt_required_hyperparameter_gets_the_near_ones(load, params):
    section = {**params.methods["dpo"]}
    section["betta"] = section.pop("beta")
    assert message_of(load, {"methods.dpo": section}).startswith("methods.dpo.betta: unknown key; did you mean beta? known: ")


def test_unknown_key_of_a_round_gets_the_near_ones(load):
    message = message_of(load, {"run.later_rounds.0.prevous": "r1"})
    assert message == "run.later_rounds.0.prevous: unknown key; did you mean previous? known: id, previous"


@pytest.mark.parametrize("key", ["run.methods", "run.seeds", "run.reward_models"])
def test_nothing_to_compare_is_an_error(load, key):
    assert message_of(load, {key: []}).startswith(f"{key}: found []; list should have at least 1 item")


def test_base_must_be_compared(load):
    assert message_of(load, {"run.fixed_reward_models": []}).startswith("run: fixed_reward_models must contain base")


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("key", ["sampling.train.temperature", "methods.dpo.beta", "reward.adversarial.adversarial_weight"])
def test_infinity_is_an_error(load, key, value):
    assert message_of(load, {key: value}).startswith(f"{key}: found {value}; input should be a finite number")


def test_file_that_is_not_utf8(tmp_path):
    (tmp_path / "params.yaml").write_bytes(b"profile: \xff")
    with pytest.raises(ConfigError, match=r"params.yaml: not UTF-8 .* at byte 9"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(("text", "found"), [("", "nothing"), ("# only a comment", "nothing"), ("- run", "a list"), ("run", "a str")])
def test_file_that_is_no_mapping(tmp_path, text, found):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"params.yaml: found {found}, expected a mapping of the sections profile, .*, claims$"):
        load_params(tmp_path / "params.yaml")


def test_reward_models_with_other_heads_are_not_compared(load, params):
    message = message_of(load, {"reward.adversarial": params.reward["adversarial"] | {"head_per_subset": True}})
    assert message.startswith("reward.adversarial.head_per_subset: True, expected False as in reward.base")


def test_sections_of_reward_by_other_names(load, params):
    """Several sections of one file, doses say, name it; a section of no file is misspelt."""
    adversarial = params.reward["adversarial"]
    dose = load({"reward.dose": adversarial | {"player": "adversarial", "adversarial_weight": 3.0}}).reward_model("dose")
    assert type(dose) is type(params.reward_model("adversarial")) and dose.game_weight == 3.0
    message = message_of(load, {"reward.adversarail": adversarial})
    assert message.startswith(
        "reward.adversarail: no reward model 'adversarail' in reward_models/; did you mean adversarial or no_adversarial?"
    )
    assert message.endswith("a section of another name says which it is by its key `player`")


def test_an_ensemble_is_trained_once_and_called_so(load, params):
    section = params.reward["base"] | {"player": "ensemble", "num_members": 2, "combination": "worst", "variance_weight": 0.0}
    kinds = [*params.run.sft_start_reward_models, "ensemble_worst"]
    run = {"run.reward_models": kinds, "run.sft_start_reward_models": kinds, "reward.ensemble_worst": section}
    fixed = load(run | {"run.fixed_reward_models": [*params.run.fixed_reward_models, "ensemble_worst"]})
    assert fixed.reward_model("ensemble_worst").ensemble.num_members == 2
    message = message_of(load, run | {"run.retrained_reward_models": ["adversarial", "ensemble_worst"]})
    assert message == "run: ensemble_worst is a reward model that is trained once a replicate; name it in fixed_reward_models"
    kinds = [*params.run.sft_start_reward_models, "several"]
    run = {"run.reward_models": kinds, "run.sft_start_reward_models": kinds, "reward.several": section}
    message = message_of(load, run | {"run.retrained_reward_models": ["adversarial", "several"]})
    assert message == "run: several is an ensemble, which is trained once a replicate; call it ensemble_several"


def test_settings_are_those_of_the_file(load, params):
    """GAIL has no human pairs that could weigh something."""
    assert message_of(load, {"reward.gail": params.reward["adversarial"]}).startswith("reward.gail.human_weight: unknown key; ")


def test_labels_are_bought_where_gold_is_known_and_no_more_than_train_as_long(load, root, params):
    fresh = params.reward["base"] | {"num_labels": 400}
    assert load({"reward.fresh": fresh}).reward_model("fresh").num_labels == 400
    assert message_of(load, {"reward.fresh": fresh | {"num_labels": 401}}).startswith(
        "reward.fresh: found 401 labels a round, expected at most 400: more would train longer than the game's reward models do"
    )
    small = yaml.safe_load((root / "profiles/small/params.yaml").read_text(encoding="utf-8"))
    changes = {"prepare": small["prepare"], "base_model": small["base_model"], "run.gold_reward_models": []}
    kinds = ["base", "no_adversarial", "adversarial"]
    changes |= {"run.reward_models": kinds, "run.sft_start_reward_models": kinds, "prepare.num_further_pairs": 400}
    message = message_of(load, {**changes, "reward.fresh": fresh | {"num_labels": 4}})
    assert message.startswith("reward.fresh: new labels are drawn from gold, by the annotator of the human pairs, and prepare.source is hh")


def test_sections_of_methods_that_the_run_leaves_out(load, params):
    assert load({"run.methods": ["rjs"]}).run.methods == ["rjs"]
    assert message_of(load, {"methods.dop": params.methods["dpo"]}).startswith("methods: no method 'dop' in methods/; did you mean dpo?")


def test_gold_judges_only_where_it_is_known(load, root, params):
    small = yaml.safe_load((root / "profiles/small/params.yaml").read_text(encoding="utf-8"))
    kinds = {
        "reward_models": ["base", "adversarial"],
        "fixed_reward_models": ["base"],
        "gold_reward_models": [],
        "sft_start_reward_models": ["base", "adversarial"],
    }
    without_gold = {"prepare": small["prepare"], "base_model": small["base_model"], **{f"run.{key}": value for key, value in kinds.items()}}
    message = message_of(
        load,
        without_gold
        | {"run.reward_models": [*kinds["reward_models"], "oracle"], "run.gold_reward_models": ["oracle"]}
        | {"run.sft_start_reward_models": [*kinds["reward_models"], "oracle"]},
    )
    assert message.startswith("run.gold_reward_models: ['oracle'], expected [] where gold is unknown")
    message = message_of(load, without_gold)
    assert message.startswith("judge.provider.source: gold is unknown where prepare.source is hh; write server or vllm")
    assert not load({**without_gold, "judge.rounds": [], "judge.human_pairs": []}).judge.is_used


@pytest.mark.parametrize(
    ("written", "seeds"),
    [("[0, 010, 0o11, 1_000]", [0, 10, 9, 1000]), ("\n    - 1:30", "1:30"), ("[yes]", "yes")],
    ids=["octal", "sexagesimal", "truth"],
)
def test_params_mean_what_dvc_reads(tmp_path, root, written, seeds):
    text = re.sub(r"  seeds: .*\n(  - .*\n)+", f"  seeds: {written}\n", (root / "params.yaml").read_text(), count=1)
    (tmp_path / "params.yaml").write_text(text)
    dvcs = parse_yaml(text, "params.yaml")["run"]["seeds"]
    assert dvcs == (seeds if isinstance(seeds, list) else [seeds])
    if isinstance(seeds, list):
        assert list(load_params(tmp_path / "params.yaml").run.seeds) == seeds
    else:
        with pytest.raises(ConfigError, match=r"run.seeds.0: found " + re.escape(repr(seeds))):
            load_params(tmp_path / "params.yaml")


def test_a_repeated_key_is_named_with_its_line(tmp_path, root):
    text = (root / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text + "profile: other\n")
    with pytest.raises(ConfigError, match=rf"not YAML: found duplicate key \"profile\" .* at line {len(text.splitlines()) + 1}$"):
        load_params(tmp_path / "params.yaml")


def test_heads_have_the_names_of_the_data(root, tmp_path):
    raw = yaml.safe_load((root / "profiles/preferences/params.yaml").read_text(encoding="utf-8"))
    for name in ("base", "all", "adversarial"):
        raw["reward"][name]["head_per_subset"] = True
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    found = load_params(tmp_path / "params.yaml")
    assert found.heads(found.base_reward) == ("own",) and load_params(root / "params.yaml").heads(found.base_reward) == (
        "helpful",
        "harmless",
    )
