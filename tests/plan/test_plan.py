"""The plan of each profile: its checks catch planted faults, its counts are those of the stages, its schedule is right."""

import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from apo_bench.cli import main
from apo_bench.config.judge_sections import VllmJudge
from apo_bench.config.params import load_params
from apo_bench.core.stage import Sizes, Work
from apo_bench.engines.devices import Need
from apo_bench.models.language_model import save_model
from apo_bench.models.tokenizer import train_tokenizer
from apo_bench.plan import checks
from apo_bench.plan.checks import check_judge, check_near_duplicates, check_splits
from apo_bench.plan.costs import Rates, simulate
from apo_bench.plan.work import work_of
from apo_bench.samplers import vllm
from apo_bench.samplers.vllm import Vllm
from apo_bench.scheduling import Host, Places, Schedule
from apo_bench.stages import num_on_a_gpu, num_side_by_side, this_host

ROOT = Path(__file__).parents[2]
HH_SIZES = {
    "num_rm_prompts": 10, "num_lm_prompts": 12, "num_game_prompts": 6, "num_validation_prompts": 4,
    "num_test_pairs": 16, "num_test_prompts": 9,
}  # fmt: skip


def tokenizer_without_spare_token():
    """Its only special token is the end token, which pads as well."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend.train_from_iterator(["Boil the water."], trainers.BpeTrainer(special_tokens=["<|end|>"], initial_alphabet=alphabet))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<|end|>", eos_token="<|end|>")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] + eos_token }}{% endfor %}"
    return tokenizer


@pytest.fixture
def profile(model, tokenizer, tmp_path, monkeypatch):
    """Makes a copy of the profile `small` with the fixture's dialogues and the tiny model, changed as asked; the folder is entered."""
    folder = tmp_path / "profiles" / "small"
    shutil.copytree(ROOT / "tests/fixtures/hh-rlhf", folder / "inputs/hh-rlhf")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    shutil.copy(ROOT / "dvc.yaml", folder)
    monkeypatch.chdir(folder)

    def make(compute=(), prepare=(), tokenizer_used=tokenizer, **sections):
        raw = yaml.safe_load((ROOT / "profiles/small/params.yaml").read_text())
        raw["prepare"] |= HH_SIZES | dict(prepare)
        raw["compute"] |= {"max_prompt_length": 48, "dtype": "float32", "frozen_layers": 1} | dict(compute)
        raw["sampling"]["train"]["max_new_tokens"] = raw["sampling"]["test"]["max_new_tokens"] = 8
        raw["base_model"]["num_parameters"] = 30000
        for key, value in sections.items():
            raw[key] |= value
        Path("params.yaml").write_text(yaml.safe_dump(raw))
        save_model(model, tokenizer_used, Path(raw["base_model"]["folder"]))
        return raw

    return make


@pytest.fixture
def untimed(monkeypatch):
    """Any rates: what they say is no matter, and to measure them takes seconds."""
    rates = Rates(**dict.fromkeys((field.name for field in fields(Rates)), 1e-3) | {"is_measured": True})
    monkeypatch.setattr("apo_bench.plan.report.calibrate", lambda *_: rates)


def run():
    """The exit status and what was printed, on one line."""
    result = CliRunner().invoke(main, ["plan"], terminal_width=200, env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def test_sound_profile_passes_and_is_measured(profile):
    profile()
    status, printed = run()
    assert "timed on this machine" in printed and "the run may begin" in printed and "FAILS" not in printed
    assert status == 0
    assert not Path("out").exists(), "a plan leaves nothing behind"


def test_planted_leak_is_caught(profile, untimed):
    """A test pair that also stands in the RM half of a run that began."""
    profile()
    from pipeline.stages.prepare import main as prepare

    prepare(Path("out/data"), Path("out/results/prepare"))
    leaked = Path("out/data/pairs_test.jsonl").read_text().splitlines()[0]
    with Path("out/data/pairs_rm.jsonl").open("a") as file:
        file.write(leaked + "\n")
    status, printed = run()
    assert status == 1 and "1 conversations in two splits" in printed


def test_pad_that_is_the_end_token_is_caught(profile):
    profile(tokenizer_used=tokenizer_without_spare_token())
    status, printed = run()
    assert status == 1 and "no pad token but the end token" in printed


def test_two_beginning_tokens_are_caught(profile):
    changed = train_tokenizer(["Boil the water. Hi. Bye. Hello. Yes, I am."] * 3, 400)
    changed.bos_token = "<|user|>"
    changed.chat_template = "{{ bos_token }}{{ bos_token }}{% for message in messages %}{{ message['content'] + eos_token }}{% endfor %}"
    profile(tokenizer_used=changed)
    status, printed = run()
    assert status == 1 and "begin with '<|user|>' twice" in printed


def test_missing_extra_is_caught(profile, monkeypatch):
    profile(compute={"lora": {"rank": 2, "alpha": 4, "target_modules": ["q_proj"]}})
    find_spec = checks.importlib.util.find_spec
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: None if name == "peft" else find_spec(name))
    status, printed = run()
    assert status == 1 and "missing: pip install 'apo-bench[lora]'" in printed


def test_missing_vllm_is_caught(params, monkeypatch):
    monkeypatch.setattr(vllm, "is_installed", lambda package: False)
    engines = params.engines.model_copy(update={"sampling": "vllm"})
    found = {check.name: check for check in checks.check_packages(params.model_copy(update={"engines": engines}))}
    assert not found["package vllm"].passed and "`make vllm`" in found["package vllm"].found
    assert "package vllm" not in {check.name for check in checks.check_packages(params)}


def test_missing_vllm_of_a_judge_is_caught_where_samples_need_none(params, monkeypatch):
    monkeypatch.setattr("apo_bench.judge.vllm_server.importlib.util.find_spec", lambda name: None)
    judge = params.judge.model_copy(update={"provider": VllmJudge.model_construct(source="vllm")})
    found = {check.name: check for check in checks.check_packages(params.model_copy(update={"judge": judge}))}
    found = {check.name: check for check in checks.check_packages(params.model_copy(update={"judge": judge}))}
    check = found["package vllm of the judge"]
    assert not check.passed and "judge.provider.source: vllm is not" in check.found and "package vllm" not in found


def test_a_missing_training_engine_is_caught(params, monkeypatch):
    monkeypatch.setattr("apo_bench.config.compute_sections.find_spec", lambda name: None)
    engines = params.engines.model_copy(update={"training": "deepspeed"})
    found = {check.name: check for check in checks.check_packages(params.model_copy(update={"engines": engines}))}
    assert not found["package deepspeed"].passed and "pip install 'apo-bench[deepspeed]'" in found["package deepspeed"].found
    assert "package deepspeed" not in {check.name for check in checks.check_packages(params)}


def test_missing_inputs_device_and_room_are_caught(profile):
    """Without data and model the plan still counts, with what HH and an A100 are known for, and says so."""
    profile(compute={"device": "cuda", "dtype": "bfloat16"}, base_model={"num_parameters": 7_000_000_000_000})
    shutil.rmtree("inputs")
    status, printed = run()
    assert status == 1 and "assumed: an NVIDIA A100" in printed
    for fault in ("inputs/hh-rlhf: not there; `apo-bench fetch` gets it", "PyTorch sees no GPU"):
        assert fault in printed
    assert printed.count("FAILS") == 5  # device, both inputs, disk, memory


def test_cut_responses_are_caught(profile, untimed):
    profile(reward={"base": {**yaml.safe_load((ROOT / "profiles/small/params.yaml").read_text())["reward"]["base"], "max_length": 12}})
    status, printed = run()
    assert status == 1 and "of responses longer than max_length 12 lose their beginning" in printed


def test_every_profile_has_the_keys_of_the_default():
    default = load_params(ROOT / "params.yaml")
    for path in sorted((ROOT / "profiles").glob("*/params.yaml")):
        other = load_params(path)
        assert list(yaml.safe_load(path.read_text())) == list(yaml.safe_load((ROOT / "params.yaml").read_text()))
        assert other.profile == path.parent.name and set(other.methods) >= set(default.methods)
        stages = path.parent / "dvc.yaml"
        assert not stages.exists() or stages.resolve() == ROOT / "dvc.yaml", "there is none before the profile has run"
        assert (path.parent / other.root).resolve() == ROOT


def test_a_conversation_in_two_splits_is_found():
    def rows(*texts):
        return [{"dialogue": f"\n\nHuman: {text}\n\nAssistant:"} for text in texts]

    splits = dict.fromkeys(("pairs_rm", "pairs_lm", "pairs_validation", "pairs_test"), rows("Only here."))
    same_start = {"pairs_rm": rows("Hi."), "pairs_lm": rows("Hi.\n\nAssistant: Yes?\n\nHuman: Go on.")}
    same_start |= {"pairs_validation": rows("A?"), "pairs_test": rows("B?")}
    assert not check_splits(splits).passed
    assert not check_splits(same_start).passed
    assert check_splits(same_start | {"pairs_lm": rows("Ho.")}).passed


def test_near_duplicates_are_counted():
    """One word in forty changed leaves a Jaccard overlap of 35 to 41 triples, 0.85; a name at the end 37 to 39, 0.95."""
    text = " ".join(f"word{number}" for number in range(40))
    near, far = f"{text} thanks", text.replace("word20", "other")
    train = {"pairs_rm": [{"dialogue": text}], "pairs_lm": []}
    caught = check_near_duplicates(train | {"pairs_test": [{"dialogue": near}, {"dialogue": "quite another thing here"}]})
    assert not caught.passed and caught.found.startswith("1 of 2")
    assert check_near_duplicates(train | {"pairs_test": [{"dialogue": far}]}).found.startswith("0 of 1")


def test_work_by_hand(params):
    """Files of 10 sequences of 100 tokens, 60 of them the prompt's, and samples of 20 tokens; n = 4."""
    names = (
        "pairs_rm",
        "pairs_lm",
        "pairs_test",
        "prompts_test",
        "prompts_lm",
        "golden_rm",
        "golden_lm",
        "golden_test",
        "demonstrations",
        "pretraining",
    )
    sizes = Sizes(dict.fromkeys(names, 10), dict.fromkeys(names, 60.0), dict.fromkeys(names, 100.0), 20.0)

    def planned(typed, params=params):
        return work_of(f"exec python -m pipeline {typed}", params, sizes)

    assert planned("sample --half lm --method dpo --reward-model base --seed 0 --round r2") == Work(sample=10 * 4 * 20)
    assert planned("align --method dpo --reward-model base --seed 0 --round r1") == Work(
        train_policy=10 * (60 + 2 * 20), read_policy=10 * (60 + 2 * 20)
    )
    assert planned("align --method rrhf --reward-model base --seed 0 --round r2") == Work(train_policy=10 * (60 + 4 * 20))
    assert planned("align --method rjs --reward-model base --seed 0 --round r2") == Work(train_policy=10 * 80)
    assert planned("reward --reward-model all --seed 0") == Work(train_reward=2 * 10 * 140)
    assert planned("evaluate_reward --reward-model adversarial --seed 0 --round r2 --method dpo") == Work(read_reward=10 * 140)
    adversarial = Work(train_reward=10 * 140 + 10 * (60 + 40 + 4 * 20))
    assert planned("adversarial_reward --reward-model adversarial --seed 0 --round r1") == adversarial
    assert planned("respond --reference sft --seed 0 --round r0") == Work(sample=200)
    assert planned("evaluate --reference sft --seed 0 --round r0") == Work(read_reward=800, read_policy=1600)
    assert planned("score --reward-model adversarial --seed 0 --round r2 --method dpo") == Work(read_reward=10 * (60 + 40 + 4 * 20))
    assert planned("score --reward-model base --seed 0 --round r1") == Work(read_reward=10 * (60 + 40 + 4 * 20))
    ledger = 10 * (60 + 4 * 20 + 40)  # SFT and three rounds, and the golden responses
    samples = 3 * 10 * (60 + 4 * 20)  # that RM_base reads of three rounds
    assert planned("game --method dpo --reward-model adversarial --seed 0") == Work(read_reward=4 * ledger + samples)
    assert planned("game --method dpo --reward-model base --seed 0") == Work(read_reward=ledger)
    assert planned("track") == Work(is_model=False)
    assert planned("own_policy --name mine") == Work()
    assert planned("evaluate_reward --reward-model mine --own") == Work(read_reward=10 * 140)
    assert work_of("python my_own_stage.py", params, sizes) == Work(is_model=False)
    others = load_params(ROOT / "profiles/ablations/params.yaml")
    assert planned("reward --reward-model ensemble --seed 0", others) == Work(train_reward=3 * 10 * 140)
    assert planned("evaluate_reward --reward-model ensemble --seed 0", others) == Work(read_reward=3 * 10 * 140)
    assert planned("adversarial_reward --reward-model ocrm --seed 0 --round r1", others) == adversarial
    assert planned("adversarial_reward --reward-model ocrm --seed 0 --round r2 --method rjs", others) == replace(
        adversarial, read_policy=2 * 10 * 140
    )


def with_engines(params, compute, **engines):
    """The params with other keys of the two sections."""
    changed = {"compute": params.compute.model_copy(update=compute), "engines": params.engines.model_copy(update=engines)}
    return params.model_copy(update=changed)


def test_stages_side_by_side(params, monkeypatch):
    """As many as 8 cores have room for, with vLLM's processes counted; on GPUs as many on each as the param says and cores allow."""
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    settings = params.engines.samplers | {"vllm": Vllm(tensor_parallel=2, data_parallel=2, memory_fraction=0.5)}
    assert this_host(with_engines(params, {"num_threads": 2}, samplers=settings)) == Host("", 4)
    assert this_host(with_engines(params, {"num_threads": 2}, samplers=settings, sampling="vllm")) == Host("", 1)
    on_gpu = with_engines(params, {"device": "cuda", "stages_per_gpu": 3})
    monkeypatch.setattr("apo_bench.stages.visible_devices", lambda: ("4", "5"))
    assert this_host(on_gpu) == Host("", 8, ("4", "5"), 3) and num_side_by_side(this_host(on_gpu)) == 6
    assert num_side_by_side(this_host(with_engines(params, {"device": "cuda", "stages_per_gpu": 9}))) == 8
    monkeypatch.setattr("apo_bench.stages.visible_devices", tuple)
    assert num_side_by_side(this_host(on_gpu)) == 1, "the stages say that no GPU is there"


def test_stages_share_a_gpu_if_one_of_them_may(params):
    host = Host("", 8, ("0",), 4)
    assert num_on_a_gpu(host, {"sample": Need(1, is_whole=True), "align": Need(1), "compare": Need()}) == 4
    assert num_on_a_gpu(host, {"sample": Need(8, is_whole=True), "align": Need(8, is_whole=True), "compare": Need()}) == 1


def test_schedule_by_hand():
    """a (1 s) before b (4 s); c and d (2 s each) alone. Two workers: a and c to 1 and 2 s, b from 1 to 5 s, d from 2 to 4 s."""
    parents = {"a": set(), "b": {"a"}, "c": set(), "d": set()}
    seconds = {"a": 1.0, "b": 4.0, "c": 2.0, "d": 2.0}
    for num_slots, expected in ((2, 5.0), (1, 9.0)):
        schedule = Schedule(list(parents), parents, dict.fromkeys(parents, Need()))
        assert simulate(seconds, schedule, Places([Host("", num_slots)])) == expected


def test_a_plan_for_gpus_says_how_many_stages_share_each(profile):
    """Four on the one that the largest stage takes, in a quarter of its 80 GiB each: 16 bytes a parameter and 2 GiB, 17.2 GiB."""
    profile(compute={"device": "cuda", "dtype": "float32", "stages_per_gpu": 4}, base_model={"num_parameters": 1_020_000_000})
    shutil.rmtree("inputs")
    _, printed = run()
    assert "up to 4 side by side on 1 GPU (assumed" in printed
    memory = next(line for line in printed.splitlines() if "memory" in line)
    assert "ok" in memory and "a stage takes up to 17.2 GiB, 4 side by side 68.8; each GPU has 80 GiB" in memory


@pytest.mark.parametrize(
    ("changes", "passes"), [({}, True), ({"max_requests": 244_000}, True), ({"max_requests": 243_999}, False), ({"max_usd": 1000.0}, False)]
)
def test_a_judge_whose_budget_cannot_be_enough_fails(changes, passes):
    """6 arms against SFT and 3 against base, 3 rounds, 4,500 prompts, and 500 human pairs, in 2 orders: 244,000 questions."""
    params = load_params(ROOT / "profiles/paper/params.yaml")
    provider = params.judge.provider.model_copy(update=changes)
    (check,) = check_judge(params.model_copy(update={"judge": params.judge.model_copy(update={"provider": provider})}))
    assert check.passed == passes and "244,000 questions" in check.found and "about 1,098 USD" in check.found


def test_gold_or_no_judge_has_no_budget(params):
    assert list(check_judge(params)) == list(check_judge(load_params(ROOT / "profiles/small/params.yaml"))) == []
