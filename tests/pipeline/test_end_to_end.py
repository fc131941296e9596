"""One very small reproduction of the whole pipeline with the real stages, DVC and MLflow; then what must and must not run again."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import forked
import pytest
import recording
import yaml

from apo_bench.config.params import load_params
from apo_bench.core.layout import RESULTS, TIMES
from apo_bench.core.results import read_metrics
from apo_bench.core.stage import Sizes
from apo_bench.data.records import parse_dialogue
from apo_bench.plan.inputs import read_or_prepare, read_or_train_tokenizer
from apo_bench.plan.work import measure, work_of
from apo_bench.provenance.lock import LOADER, Lock

ROOT = Path(__file__).parents[2]
SIZES = {
    "num_rm_prompts": 48, "num_lm_prompts": 48, "num_game_prompts": 12, "num_further_pairs": 18, "num_validation_prompts": 10,
    "num_test_pairs": 40, "num_test_prompts": 24, "num_pretraining_examples": 300, "num_demonstrations": 64,
}  # fmt: skip
KINDS = ["base", "no_adversarial", "oracle", "base_after_golden", "adversarial"]
GROUPS = [f"{method}-{kind}" for method in ("rjs", "dpo") for kind in KINDS]
ARMS = [f"{group}-s0" for group in GROUPS]
ELSEWHERE = {
    "base_model": {"sampling.train.max_new_tokens", "sampling.test.max_new_tokens", "sft.max_length"},
    "judge": {"judge.templates"},
    "judge_human": {"judge.templates"},
}
"""Params that a stage reads and that do not stand in its `params`, by its script: lengths that the base model is checked for, as it is
again by what samples and trains, and a folder that stands in the deps."""
REFERENCES = ["sft", "golden", "human", "best_of_n"]


def start(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of this virtual environment in a copy of the project, on that copy's code."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False)


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """The same for a Python program, as a fork of a process that has the libraries."""
    return forked.run(folder, *command, code=folder)


def edit(workspace: Path, change) -> None:
    """Applies `change` to the parsed params.yaml."""
    file = workspace / "params.yaml"
    params = yaml.safe_load(file.read_text())
    change(params)
    file.write_text(yaml.safe_dump(params, sort_keys=False))


def stale_stages(workspace: Path) -> set[str]:
    """The stages that `dvc status` would run again."""
    done = run(workspace, "dvc", "status", "--json")
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy of the project at very small sizes, reproduced once by what `make repro` runs, and what that printed."""
    folder = tmp_path_factory.mktemp("workspace")
    for name in ("apo_bench", "pipeline"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", "Makefile"):
        shutil.copy(ROOT / name, folder / name)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    assert run(folder, "dvc", "init", "--quiet").returncode == 0

    def shrink(params: dict) -> None:
        params["prepare"] |= SIZES
        params["base_model"] |= {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "intermediate_size": 64, "vocab_size": 400}
        params["sampling"]["train"] |= {"num_samples": 2, "max_new_tokens": 24}
        params["sampling"]["test"] |= {"max_new_tokens": 24}
        later = params["run"]["later_rounds"][:1]
        params["run"] |= {"methods": ["rjs", "dpo"], "reward_models": KINDS, "seeds": [0], "later_rounds": later}
        params["run"] |= {"golden_start_reward_models": KINDS[3:4], "sft_start_reward_models": [*KINDS[:3], KINDS[4]]}
        params["evaluate"] |= {"num_earlier_prompts": 16}
        params["judge"] |= {"rounds": ["r2"], "num_human_pairs": 16, "seeds": [0]}
        params["game"] |= {"seeds": [0]}
        params["compare"] |= {"num_bootstrap_draws": 1000, "num_shown_prompts": 2}

    edit(folder, shrink)
    recording.install(folder)
    done = start(folder, sys.executable, "-m", "pipeline.repro")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder, done.stdout + done.stderr


@pytest.fixture(scope="module")
def workspace(reproduced: tuple[Path, str]) -> Path:
    """The folder of that run."""
    return reproduced[0]


def test_stages_read_no_params_but_those_that_dvc_knows(workspace: Path) -> None:
    """So that a param that changes re-runs what it can change, with no stage that depends on the schema."""
    reads: dict[str, set[str]] = {}
    for line in (workspace / recording.LOG).read_text().splitlines():
        stage, param = line.split("\t")
        reads.setdefault(stage, set()).add(param)
    unknown, scripts = {}, set()
    for name, entry in read_lock(workspace)["stages"].items():
        command = entry["cmd"].removeprefix("exec python -m pipeline ")
        known = entry.get("params", {}).get("params.yaml", {})
        found = {param for param in reads.get(command, set()) if not any(f"{param}.".startswith(f"{key}.") for key in known)}
        script = command.split()[0]
        unknown |= {name: found} if (found := found - ELSEWHERE.get(script, set())) else {}
        scripts |= {script} if command in reads else set()
    assert unknown == {}
    made = {"base_model", "sft", "reward", "sample", "adversarial_reward", "score", "align", "respond"}
    assert made | {"evaluate_reward", "evaluate", "judge"} <= scripts


def test_every_arm_has_results_of_every_round(workspace: Path) -> None:
    summary = json.loads((workspace / "report/summary.json").read_text())
    assert set(summary["policies"]) == {*REFERENCES, *GROUPS}
    assert set(summary["replicates"]) == {*(f"{name}-s0" for name in REFERENCES), *ARMS}
    for policies, names in ((summary["policies"], GROUPS), (summary["replicates"], ARMS)):
        for name in names:
            assert set(policies[name]["rounds"]) == {"r1", "r2"}
            estimate = policies[name]["rounds"]["r2"]["gold"]
            assert estimate["low"] <= estimate["value"] <= estimate["high"]
    rows = {name: len(rows_of(workspace, f"results/s0/arms/dpo-base/{name}/evaluation/prompts.jsonl")) for name in ("r1", "r2")}
    assert rows == {"r1": 16, "r2": 24}, "earlier rounds answer fewer prompts"


def test_a_seed_more_touches_that_seed_alone(workspace: Path) -> None:
    edit(workspace, lambda params: params["run"].update(seeds=[0, 1]))
    try:
        stale = stale_stages(workspace)
    finally:
        edit(workspace, lambda params: params["run"].update(seeds=[0]))
    assert {"labels@1", "sft@1", "reward@base-1", "align_first@dpo-adversarial-1", "evaluate@rjs-oracle-1-round0"} <= stale
    assert all(re.search(r"[@-]1(-|$)", stage) or stage in ("compare", "times", "track") for stage in stale), stale


def test_page_is_written_and_loads_nothing(workspace: Path) -> None:
    page = (workspace / "report/index.html").read_text()
    assert "dpo" in page.lower()
    assert 'src="http' not in page and 'href="http' not in page


def test_policies_load_as_plain_transformers_models(workspace: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = workspace / "out/models/s0/arms/dpo-adversarial/r2/policy"
    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() > 0
    assert not [file for file in (workspace / "out").rglob("*") if file.suffix in (".bin", ".pt", ".pkl")]


def test_mlflow_has_one_run_an_arm_with_metrics_by_round(workspace: Path) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{workspace}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id], max_results=500)}
    assert {*ARMS, *GROUPS} <= set(runs)
    history = client.get_metric_history(runs["dpo-base-s0"].info.run_id, "evaluation/gold")
    assert [metric.step for metric in sorted(history, key=lambda metric: metric.step)] == [0, 1, 2]


def test_every_model_has_a_card_and_is_for_all_to_read(workspace: Path) -> None:
    folders = [file.parent for file in (workspace / "out/models").rglob("config.json")]
    assert len(folders) > len(ARMS) and all((folder / "README.md").is_file() for folder in folders)
    assert not [file for folder in folders for file in folder.iterdir() if not file.stat().st_mode & 0o044]
    card = (workspace / "out/models/s0/arms/dpo-adversarial/r2/policy/README.md").read_text()
    assert "# DPO with the reward model adversarial, seed 0, after r2" in card and "license: apache-2.0" in card
    settings = yaml.safe_load((workspace / "params.yaml").read_text())["sampling"]["train"]
    generation = json.loads((workspace / "out/models/s0/arms/dpo-adversarial/r2/policy/generation_config.json").read_text())
    assert (generation["temperature"], generation["max_new_tokens"]) == (settings["temperature"], settings["max_new_tokens"])


PREDICTING = """
import json, sys
import mlflow

folder, reward_id = json.loads(sys.argv[1])
mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow/mlflow.db")
pipeline = mlflow.transformers.load_model("models:/tiny-best@champion")
chat = mlflow.pyfunc.load_model("models:/tiny-best@champion")
answers = chat.predict(chat.input_example)
chats = json.load(sys.stdin)
scores = mlflow.pyfunc.load_model(f"models:/{reward_id}").predict(chats)
classifier = mlflow.transformers.load_model(f"models:/{reward_id}")
print(json.dumps({"answer": answers[0], "task": pipeline.task, "scores": scores["score"].tolist(), "labels": len(classifier("Hi")) }))
"""


def test_mlflow_loads_policies_and_reward_models_in_another_process(workspace: Path) -> None:
    """Where nothing of the run is imported, from another folder; scores are those that the stages gave."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{workspace}/mlflow/mlflow.db")
    found = client.search_logged_models([client.get_experiment_by_name("tiny").experiment_id], "name = 'reward-base-s0'")
    rows = rows_of(workspace, "results/s0/first/score/base/scored.jsonl")[:3]
    chats = [
        {"messages": [*parse_dialogue(row["dialogue"]), {"role": "assistant", "content": row["responses"][0]}]}
        for row in rows
        if row["finished"][0]
    ]
    expected = [row["rewards"][0] for row in rows if row["finished"][0]]
    assert expected
    options = json.dumps([str(workspace), found[0].model_id])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", PREDICTING, options]
    done = subprocess.run(
        command, cwd=workspace.parent, env=environment, input=json.dumps(chats), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["scores"] == pytest.approx(expected, abs=1e-5) and said["task"] == "text-generation" and said["labels"] == 1
    choice = said["answer"]["choices"][0]
    assert choice["message"]["role"] == "assistant" and choice["finish_reason"] in ("stop", "length")
    assert said["answer"]["usage"]["completion_tokens"] > 0


VERDICTS = (
    "better",
    "worse",
    "reproduced",
    "no difference",
    "cycles",
    "forgets",
    "converges",
    "diverges",
    "over-optimised",
    "falls",
    "still rises",
)
VERDICTS += ("on the frontier", "off it")
OPEN = {"undecided", "not tested"}


class Cells(HTMLParser):
    """The words in cells of tables and in cards; captions and explanations are none."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._depth = 0

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self._depth += tag in ("td", "b")

    def handle_endtag(self, tag: str) -> None:
        self._depth -= tag in ("td", "b")

    def handle_data(self, data: str) -> None:
        if self._depth:
            self.found.append(" ".join(data.split()).removeprefix("◆").strip(" ▲▼○="))


def verdicts_in(node: object) -> Iterator[str]:
    """All that a summary calls a verdict."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from [value] if key in ("verdict", "standing") else verdicts_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from verdicts_in(value)


def test_one_seed_speaks_no_verdict(reproduced: tuple[Path, str]) -> None:
    """Neither page, terminal, summary nor tags: this run has a judge, a game and claims that it can test."""
    import mlflow

    workspace, printed = reproduced
    assert "RJS adversarial − base" in printed and "1 seed: nothing is decided" in printed
    assert not [word for word in ("adversarial better", "base better", " reproduced", "no difference beyond") if word in printed]
    of_claims = [line for line in printed.splitlines() if re.match(r"(C\d+|APO|AB) +[A-Z]", line)]
    assert len(of_claims) == 14 and all(any(word in line for word in OPEN) for line in of_claims)
    page, summary = (workspace / "report" / name for name in ("index.html", "summary.json"))
    cells = Cells()
    cells.feed(page.read_text())
    assert cells.found.count("undecided") > 5 and not [text for text in cells.found if text.startswith(VERDICTS) or text.endswith(VERDICTS)]
    found = list(verdicts_in(json.loads(summary.read_text())))
    assert len(found) > 30 and set(found) == OPEN
    client = mlflow.MlflowClient(f"sqlite:///{workspace}/mlflow/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id], max_results=500)
    tags = {f"{one.info.run_name} {name}": value for one in runs for name, value in one.data.tags.items() if not name.startswith("mlflow.")}
    said = {name: value for name, value in tags.items() if " claim" in name or " game." in name}
    assert "comparison claim.C1" in said and "rjs-adversarial-s0 game.dynamics" in said and set(said.values()) == OPEN
    assert not [name for name, value in tags.items() if value.startswith(VERDICTS) or value.endswith(VERDICTS)]


def test_arms_are_judged_and_the_judge_is_audited(workspace: Path) -> None:
    judged = json.loads((workspace / "report/summary.json").read_text())["judge"]
    retrained = {"rjs-adversarial-s0", "dpo-adversarial-s0"}
    assert set(judged["arms"]["sft"]) == set(ARMS) and set(judged["arms"]["base"]) == retrained
    counts = judged["arms"]["sft"]["dpo-base-s0"]["r2"]["counts"]
    assert counts["num_judged"] == counts["num_wins"] + counts["num_ties"] + counts["num_losses"] == SIZES["num_test_prompts"]
    assert {"human_kappa", "gold_kappa", "flip_fraction"} <= set(judged["human"]["pairs_test"]["estimates"])
    assert "What a judge says" in (workspace / "report/index.html").read_text()


def test_replay_writes_the_same_bytes(workspace: Path) -> None:
    done = "out/results/s0/arms/dpo-adversarial/r2"
    names = ("metrics.json", "verdicts.jsonl")
    before = [(workspace / done / "judge/sft" / name).read_bytes() for name in names]
    shutil.rmtree(workspace / done / "judge/sft")
    command = "judge --replay --provider gold --method dpo --reward-model adversarial --seed 0 --round r2 --opponent sft"
    assert run(workspace, sys.executable, "-m", "pipeline", *command.split()).returncode == 0
    assert [(workspace / done / "judge/sft" / name).read_bytes() for name in names] == before


def test_ledgers_outlive_a_stage_that_runs_again(workspace: Path) -> None:
    """DVC deletes the outputs of a stage before it runs, but not what was paid for."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name in ("judge", "judge_versus_base", "judge_human"):
        ledgers = [out for out in stages[name]["outs"] if isinstance(out, dict)]
        assert [settings for out in ledgers for settings in out.values()] == [{"persist": True}]


def sequence_lengths(workspace: Path, dialogues: list[str], responses: list[list[str]], finished: list[list[bool]] | None = None) -> list:
    """Tokens of prompt and response together and of the prompt, a list a dialogue, counted by the tokenizer and nothing of ours."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(workspace / "out/models/base_model")
    lengths = []
    for number, (dialogue, group) in enumerate(zip(dialogues, responses, strict=True)):
        turns = dialogue.removesuffix("\n\nAssistant:").split("\n\nHuman: ")
        assert len(turns) == 2 and "\n\nAssistant:" not in turns[1], "one turn each, so that none is cut"
        text = tokenizer.apply_chat_template([{"role": "user", "content": turns[1]}], tokenize=False, add_generation_prompt=True)
        prompt = len(tokenizer(text, add_special_tokens=False).input_ids)
        ends = [True] * len(group) if finished is None else finished[number]
        answers = [len(tokenizer(answer, add_special_tokens=False).input_ids) + end for answer, end in zip(group, ends, strict=True)]
        assert prompt <= 144 and all(prompt + answer <= 256 for answer in answers), "none is cut"
        lengths.append(([prompt + answer for answer in answers], prompt))
    return lengths


def rows_of(workspace: Path, path: str) -> list[dict]:
    return [json.loads(line) for line in (workspace / "out" / path).read_text().splitlines()]


def counts_of(workspace: Path, path: str) -> dict:
    return json.loads((workspace / "out/results" / path / "metrics.json").read_text())


def test_counts_equal_what_the_outputs_hold(workspace: Path) -> None:
    """Trained: SFT and RM_base on the records of their files. Scored, read and trained in a round: what stands in its scores."""
    demonstrations = rows_of(workspace, "data/demonstrations.jsonl")
    lengths = sequence_lengths(workspace, [row["dialogue"] for row in demonstrations], [[row["response"]] for row in demonstrations])
    assert counts_of(workspace, "s0/sft")["num_tokens_trained"] == sum(sum(group) for group, _ in lengths)
    pairs = rows_of(workspace, "labels/s0/pairs_rm.jsonl")
    on_pairs = sequence_lengths(workspace, [row["dialogue"] for row in pairs], [[row["chosen"], row["rejected"]] for row in pairs])
    assert counts_of(workspace, "s0/reward/base")["num_tokens_trained"] == sum(sum(group) for group, _ in on_pairs)

    golden, drawn = rows_of(workspace, "data/golden_rm.jsonl"), rows_of(workspace, "samples/s0/arms/dpo-adversarial/r2/rm.jsonl")
    groups = [[gold["response"], *row["responses"]] for gold, row in zip(golden, drawn, strict=True)]
    ends = [[True, *row["finished"]] for row in drawn]
    against_golden = sequence_lengths(workspace, [row["dialogue"] for row in golden], groups, ends)
    expected = sum(sum(group) for group, _ in on_pairs + against_golden)
    assert counts_of(workspace, "s0/arms/dpo-adversarial/r2/reward")["num_tokens_trained"] == expected

    scored = rows_of(workspace, "results/s0/arms/dpo-adversarial/r2/score/scored.jsonl")
    on_samples = sequence_lengths(
        workspace, [row["dialogue"] for row in scored], [row["responses"] for row in scored], [row["finished"] for row in scored]
    )
    score = counts_of(workspace, "s0/arms/dpo-adversarial/r2/score")
    assert score["num_reward_calls"] == sum(len(row["rewards"]) for row in scored) == 24
    assert score["num_tokens_read"] == sum(sum(group) for group, _ in on_samples)
    best_and_worst = sum(
        sum(group[index] for index in (row["rewards"].index(max(row["rewards"])), row["rewards"].index(min(row["rewards"]))))
        for row, (group, _) in zip(scored, on_samples, strict=True)
    )
    align = counts_of(workspace, "s0/arms/dpo-adversarial/r2/align")
    assert align["num_prompts"] == 12 and align["num_tokens_trained"] == align["num_tokens_read"] == best_and_worst
    assert counts_of(workspace, "s0/arms/rjs-base/r2/align")["num_tokens_read"] == 0, "RJS has no reference"
    sample = counts_of(workspace, "s0/arms/dpo-adversarial/r2/sample/lm")
    assert sample["num_samples"] == sum(len(row["responses"]) for row in scored)
    assert sample["num_tokens_read"] == sum(prompt for _, prompt in on_samples)


@pytest.fixture(scope="module")
def sizes(workspace: Path) -> Sizes:
    """Of the records, a prompt counted with each of its responses, as stages count; responses are as long as those that were sampled."""
    with contextlib.chdir(workspace):
        params = load_params(Path("params.yaml"))
        records = read_or_prepare(params)
        counted = [counts_of(workspace, f"s0/first/sample/{half}") for half in ("lm", "rm")]
        sampled = sum(found["num_tokens_generated"] for found in counted) / sum(found["num_samples"] for found in counted)
        return replace(measure(params, records, read_or_train_tokenizer(params, records), sampled), has_prompts_each=True)


def test_a_plan_counts_what_stages_count(workspace: Path, sizes: Sizes) -> None:
    """To the token where nothing is sampled; the lengths of samples are guessed by those of the first."""
    params, lock, found = load_params(workspace / "params.yaml"), Lock(workspace / "dvc.lock"), {}
    for name, entry in lock.stages.items():
        if lock.folder(entry, TIMES) and "dpo-oracle" not in name:  # DPO leaves pairs out that gold calls equal
            counted, work = read_metrics(lock.folder(entry, RESULTS)), work_of(entry["cmd"], params, sizes)
            found[name] = (work.train_policy + work.train_reward, counted.get("num_tokens_trained", 0))
            if "score" in name:  # golden responses are scored too, to measure by, and not counted
                found[name] = (work.read_reward, counted["num_tokens_read"] + sizes.rows("golden_lm", own=1))
            if "num_samples" in counted:
                found[name] = (work.sample, counted["num_samples"] * sizes.sampled)
    guessed = {name for name in found if name.startswith(("adversarial_reward", "align", "score", "reward@no_adversarial"))}
    assert {name: pair for name, pair in found.items() if pair[0] != pytest.approx(pair[1], rel=0.2 if name in guessed else 1e-3)} == {}
    assert {"base_model", "sft@0", "reward@base-0", "reward_all@0", "reference@human-0", "sample_first@0"} <= set(found) - guessed


def test_generated_tokens_are_those_that_the_policy_draws(workspace: Path) -> None:
    """Drawn once more: text that is read again may have other tokens than it was written with."""
    from apo_bench.core.seeds import derive_seed
    from apo_bench.engines.in_process import generate
    from apo_bench.models.language_model import load_language_model
    from apo_bench.models.tokenizer import encode_prompts, load_tokenizer

    params, policy = load_params(workspace / "params.yaml"), workspace / "out/models/s0/sft"
    dialogues = [row["dialogue"] for row in rows_of(workspace, "samples/s0/first/lm.jsonl")]
    tokenizer, seed = load_tokenizer(policy), derive_seed(0, "sample", "prompts_lm", "r1")
    prompts, seeds = encode_prompts(tokenizer, dialogues, 144), [derive_seed(seed, dialogue) for dialogue in dialogues]
    model = load_language_model(policy, params.compute)
    drawn = generate(model, tokenizer.eos_token_id, prompts, params.sampling.train, seeds, "again")
    assert counts_of(workspace, "s0/first/sample/lm")["num_tokens_generated"] == sum(len(ids) for group in drawn for ids in group)


def test_budget_of_an_arm_is_the_sum_of_its_stages(workspace: Path) -> None:
    """The adversarial arm: both kinds of samples in both rounds, reward models of its own, and no RM_base."""
    budget = json.loads((workspace / "report/summary.json").read_text())["budget"]["dpo-adversarial-s0"]["r2"]
    first = ["s0/first/sample/lm", "s0/first/sample/rm", "s0/first/reward/adversarial", "s0/first/score/adversarial"]
    own = [f"s0/arms/dpo-adversarial/{name}" for name in ("r1/align", "r2/sample/lm", "r2/sample/rm", "r2/reward", "r2/score", "r2/align")]
    for key in ("num_samples", "num_reward_calls", "num_tokens_generated", "num_tokens_read", "num_tokens_trained"):
        assert budget[key] == sum(counts_of(workspace, name).get(key, 0) for name in ("base_model", "s0/sft", *first, *own)), key
        assert budget["shared"][key] == sum(counts_of(workspace, name).get(key, 0) for name in ("base_model", "s0/sft", *first)), key
    assert "What each policy took" in (workspace / "report/index.html").read_text()
    times = json.loads((workspace / "report/times.json").read_text())["dpo-adversarial-s0"]["r2"]
    files = [workspace / f"out/times/{name}.json" for name in ("base_model", "s0/sft", *first, *own)]
    assert times["cpu_seconds"] == pytest.approx(sum(json.loads(file.read_text())["cpu_seconds"] for file in files), abs=0.01)


MUTATIONS = {
    "prompts": ("sample@", "out/data/prompts_lm.jsonl"),
    "base model": ("adversarial_reward@", "out/models/base_model"),
    "human pairs": ("adversarial_reward@", "out/labels/s0"),
    "SFT": ("align_first@", "out/models/s0/sft"),
    "reference of a later round": ("align@", "out/models/s0/arms/dpo-adversarial/r1/policy"),
    "samples that were scored": ("score@", "out/samples/s0/arms/dpo-adversarial/r2/lm.jsonl"),
    "test reward model": ("evaluate@", "out/models/s0/reward/all"),
    "questions of the judge": ("judge@", "apo_bench/judge/templates"),
    "code that trains": ("align@", "./apo_bench/training"),
    "judge": ("judge@", ("judge.provider", "noise", 2.0)),
    "device": ("sample@", ("compute", "device", "cuda")),
    "dtype": ("align@", ("compute", "dtype", "bfloat16")),
    "batch": ("align@", ("methods.dpo", "batch_size", 8)),
    "epochs": ("align_first@", ("methods.dpo", "epochs", 2)),
    "longest sequence": ("adversarial_reward@", ("reward.adversarial", "max_length", 128)),
    "sampling": ("sample@", ("sampling.train", "temperature", 0.5)),
    "sampling against golden": ("sample_golden@", ("sampling.train", "top_p", 0.9)),
    "sampling on test prompts": ("respond@", ("sampling.test", "max_new_tokens", 23)),
    "prompts of the evaluation": ("respond@", ("evaluate.num_earlier_prompts", "", 15)),
    "seed of the arm": ("align@", "--seed 1"),
    "library": ("align@", {"transformers": "5.18.0"}),
    "library of the sampler": ("sample@", {"torch": "2.12.1+cpu"}),
    "tokenizer": ("sample@", {"tokenizer": "0"}),
    "processor": ("evaluate@", {"device": "another"}),
}
"""A single input of dpo-adversarial-s0: the stage that records it, and a dep, a param with its new value, an option or a library."""


def read_lock(workspace: Path) -> dict:
    return yaml.load((workspace / "dvc.lock").read_text(), LOADER)


def unlike_after(workspace: Path, folder: Path, mutation: tuple | None) -> dict:
    """What the guard finds in a copy of what the stages recorded, after one change."""
    from apo_bench.provenance.comparability import read_inputs, unlike_arms
    from apo_bench.provenance.lock import Lock

    lock = read_lock(workspace)
    for file in (workspace / "out/results").rglob("environment.json"):
        (folder / file.relative_to(workspace)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / file.relative_to(workspace))
    if mutation:
        stage, change = mutation
        [name] = [name for name in lock["stages"] if name.startswith(f"{stage}dpo-adversarial-0") and not name.endswith("-r1")]
        entry = lock["stages"][name]
        if isinstance(change, dict):
            results = next(out["path"] for out in entry["outs"] if out["path"].startswith("out/results"))
            file = folder / results / "environment.json"
            file.write_text(json.dumps(json.loads(file.read_text()) | change))
        elif isinstance(change, tuple):
            section, key, value = change
            values = entry["params"]["params.yaml"]
            values, key = (values[section], key) if key else (values, section)
            assert values[key] != value
            values[key] = value
        elif change.startswith("--seed"):
            assert "--seed 0" in entry["cmd"]
            entry["cmd"] = entry["cmd"].replace("--seed 0", change)
        else:
            [dep] = [dep for dep in entry["deps"] if dep["path"] == change]
            dep["md5"] = "0" * 32
    (folder / "dvc.lock").write_text(yaml.dump(lock, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False))
    params = load_params(workspace / "params.yaml")
    inputs = read_inputs(Lock(folder / "dvc.lock"), params, params.run.arms, Path("out/models"), Path("out/results"))
    return unlike_arms(inputs)


def test_arms_of_one_run_are_alike(workspace: Path, tmp_path: Path) -> None:
    assert unlike_after(workspace, tmp_path, None) == {}


@pytest.mark.parametrize("what", MUTATIONS)
def test_guard_catches_a_single_input_that_differs(workspace: Path, tmp_path: Path, what: str) -> None:
    """Against each other arm it is the one difference; the other arms are alike. The oracle has no reward model that could be unlike, and
    what starts from SFT on golden has another start."""
    unlike = unlike_after(workspace, tmp_path, MUTATIONS[what])
    without = {"adversarial_reward@": "oracle", "align_first@": "golden"}.get(MUTATIONS[what][0] if what != "epochs" else "", "none")
    others = [arm for arm in ARMS[:-1] if without not in arm]
    assert set(unlike) == {(arm, ARMS[-1]) for arm in others}
    assert {len(faults) for faults in unlike.values()} == {1}


def test_rate_of_a_method_may_differ_from_another_methods_but_not_within_it(workspace: Path, tmp_path: Path) -> None:
    unlike = unlike_after(workspace, tmp_path, ("align@", ("methods.dpo", "learning_rates", [0.5])))
    assert set(unlike) == {(arm, "dpo-adversarial-s0") for arm in ARMS if arm.startswith("dpo") and arm != ARMS[-1]}


def test_a_run_cache_hit_brings_back_the_seconds_of_the_run_that_made_it(workspace: Path) -> None:
    file = workspace / "out/times/s0/references/golden/training.json"
    before = file.read_bytes()
    lock = (workspace / "dvc.lock").read_bytes()
    file.unlink()
    done = run(workspace, "dvc", "repro", "--single-item", "reference@golden-0")
    assert done.returncode == 0 and "is cached" in done.stdout and file.read_bytes() == before
    assert (workspace / "dvc.lock").read_bytes() == lock


def test_second_reproduction_runs_nothing(workspace: Path) -> None:
    lock = (workspace / "dvc.lock").read_bytes()
    done = run(workspace, "dvc", "repro")
    assert done.returncode == 0 and "Running stage" not in done.stdout + done.stderr
    assert (workspace / "dvc.lock").read_bytes() == lock


def test_changed_beta_touches_dpo_arms_and_what_follows_only(workspace: Path) -> None:
    edit(workspace, lambda params: params["methods"]["dpo"].update(beta=0.2))
    try:
        stale = stale_stages(workspace)
    finally:
        edit(workspace, lambda params: params["methods"]["dpo"].update(beta=0.1))
    assert "align_first@dpo-base-0" in stale
    assert all("dpo" in stage or stage in ("compare", "times", "track") for stage in stale), stale
    assert stale_stages(workspace) == set()


def test_new_method_leaves_existing_stages_unchanged(workspace: Path) -> None:
    shutil.copy(workspace / "apo_bench/methods/rjs.py", workspace / "apo_bench/methods/mine.py")

    def add(params: dict) -> None:
        params["methods"]["mine"] = params["methods"]["rjs"]
        params["run"]["methods"].append("mine")

    def remove(params: dict) -> None:
        del params["methods"]["mine"]
        params["run"]["methods"].remove("mine")

    edit(workspace, add)
    try:
        stale = stale_stages(workspace)
    finally:
        edit(workspace, remove)
        (workspace / "apo_bench/methods/mine.py").unlink()
    assert "align_first@mine-adversarial-0" in stale
    assert all("mine" in stage or stage in ("compare", "times", "track") for stage in stale), stale


def test_an_arm_alone_has_nothing_to_do_either(workspace: Path) -> None:
    done = run(workspace, sys.executable, "-m", "pipeline.repro", "--arm", "dpo-adversarial")
    found = re.match(r"repro: 0 of (\d+) stages run", done.stdout)
    assert found and 10 < int(found[1]) < len(read_lock(workspace)["stages"]) / 2


def test_dvc_shows_few_numbers(workspace: Path) -> None:
    numbers = json.loads(run(workspace, "dvc", "metrics", "show", "--json").stdout)[""]["data"]
    found = numbers["report/metrics.json"]["data"]
    assert set(numbers) == {"report/metrics.json"} and set(found) == {"gold", "gold_gain", "reward_all_gain"}
    assert set(found["gold"]) == {*REFERENCES, *GROUPS} and set(found["gold_gain"]) == {
        name for name in GROUPS if not name.endswith("-base")
    }
    summary = json.loads((workspace / "report/summary.json").read_text())
    assert found["gold"]["dpo-base"] == summary["policies"]["dpo-base"]["rounds"]["r2"]["gold"]["value"]


def test_a_clone_pulls_and_tracks(workspace: Path, tmp_path: Path) -> None:
    """docs/sharing.md, command by command, with a profile beside that has never run."""
    import mlflow

    def typed(folder: Path, *command: str) -> str:
        done = (start if command[0] in ("git", "make") else run)(folder, *command)
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
        return done.stdout + done.stderr

    identity = ("-c", "user.name=A", "-c", "user.email=a@b.c")
    shutil.copytree(ROOT / "profiles/small", workspace / "profiles/small", symlinks=True)
    typed(workspace, "dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    typed(workspace, "git", "add", ".")
    typed(workspace, "git", *identity, "commit", "--quiet", "-m", "a run")
    typed(workspace, "dvc", "push")
    clone = tmp_path / "elsewhere"
    typed(tmp_path, "git", "clone", "--quiet", str(workspace), str(clone))
    typed(clone, "dvc", "pull")
    typed(clone, "make", "-o", ".venv/.repro", "track")
    assert (clone / "report/summary.json").read_bytes() == (workspace / "report/summary.json").read_bytes()
    assert "repro: 0 of " in typed(clone, sys.executable, "-m", "pipeline.repro"), "all is there and up to date"
    client = mlflow.MlflowClient(f"sqlite:///{clone}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment.artifact_location == (clone / "mlflow/artifacts/tiny").as_uri()
    [comparison] = client.search_runs([experiment.experiment_id], "tags.mlflow.runName = 'comparison'")
    assert {"index.html", "summary.json"} <= {file.path for file in client.list_artifacts(comparison.info.run_id)}
    assert str(workspace) not in (clone / "dvc.lock").read_text()
    shutil.rmtree(workspace / "profiles")


@pytest.mark.parametrize(
    ("how", "where", "told"),
    [
        (start, "--seed 7 --round r1", "out/models/s7/sft: no model there; run the stage that writes it (dvc repro) first"),
        (run, "--seed 0 --round 2", "round: found '2', expected r1, r2, ..."),
    ],
)
def test_missing_upstream_output_is_one_line(workspace: Path, how: Callable, where: str, told: str) -> None:
    done = how(workspace, sys.executable, "-m", "pipeline", *f"align --method dpo --reward-model base {where}".split())
    assert done.returncode == 1 and done.stderr.strip().splitlines() == [f"align: {told}"]
    assert not (workspace / "out/models/s7").exists()


def test_unknown_method_stops_before_anything_runs(workspace: Path) -> None:
    edit(workspace, lambda params: params["run"]["methods"].append("dpoo"))
    try:
        done = run(workspace, sys.executable, "-m", "pipeline.repro")
    finally:
        edit(workspace, lambda params: params["run"]["methods"].remove("dpoo"))
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1 and "did you mean dpo" in done.stderr
