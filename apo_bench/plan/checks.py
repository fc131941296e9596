"""What would stop a run or spoil its numbers: each check says what it looked at and whether that is well."""

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from apo_bench.config.data_sections import GoldenAPI
from apo_bench.config.judge_sections import GoldJudge, ServerJudge, VllmJudge
from apo_bench.config.params import Params
from apo_bench.config.sections import ModelFolder, PretrainedModel
from apo_bench.core.errors import ApoBenchError
from apo_bench.core.layout import OWN
from apo_bench.data.transcripts import conversation
from apo_bench.engines.admission import admit, admit_reward_model
from apo_bench.engines.devices import sampling_engine
from apo_bench.judge.vllm_server import check_installed
from apo_bench.models.language_model import new_llama
from apo_bench.models.precision import check_device, is_bfloat16_fast, trains_reduced
from apo_bench.models.pretrained import load_own_policy, load_own_reward_model, load_pretrained
from apo_bench.models.tokenizer import encode, encode_prompts
from apo_bench.plan import Records

SPLITS = ("pairs_rm", "pairs_lm", "pairs_validation", "pairs_test")
NEAR_JACCARD = 0.9
"""Shared share of word triples from which two prompts count as the same text with a word changed."""
MAX_NEAR_FRACTION = 0.05
"""Test prompts with a near-duplicate in training that a check lets pass: a few change no conclusion."""
MAX_CUT_FRACTION = 0.05
"""Responses that are cut which a check lets pass."""
ASSUMED_QUESTION_TOKENS, ASSUMED_VERDICT_TOKENS = 800, 250
"""Of a question to the judge: 250 of the template, a dialogue and two answers of HH; and of what it replies."""
GIB = 2**30


@dataclass(frozen=True)
class Check:
    """What was looked at, what was found, and whether the run may begin."""

    name: str
    passed: bool
    found: str


def check_packages(params: Params) -> Iterator[Check]:
    """Packages that the params ask for, and the device."""
    needed = {
        "peft": ("pip install 'apo-bench[lora]'", params.compute.lora is not None),
        "ray": ("pip install 'apo-bench[ray]'", params.engines.stages == "ray"),
        "openai": ("pip install openai", isinstance(getattr(params.prepare, "golden", None), GoldenAPI)),
    }
    yield from (_check_package(package, cure) for package, (cure, is_needed) in needed.items() if is_needed)
    trainer = params.engines.trainer
    if trainer.package:
        yield _asked(f"package {trainer.package}", trainer.check_installed)
    name = sampling_engine(params.engines, params.compute)
    sampler, judge = params.engines.samplers[name], params.judge
    if sampler.packages:
        yield _asked(f"package {name}", lambda: sampler.check_installed(params.compute.device))
    if judge.is_used and isinstance(judge.provider, VllmJudge):
        yield _asked(f"package {judge.provider.source} of the judge", check_installed)
    try:
        check_device(params.compute)
    except ApoBenchError as error:
        yield Check("device", False, str(error))
        return
    if params.compute.dtype == "bfloat16" and not is_bfloat16_fast(params.compute.device):
        yield Check("device", False, f"{params.compute.device} multiplies bfloat16 more slowly than float32: write auto")
    else:
        yield Check("device", True, params.compute.device)
    if trains_reduced(params.compute):
        yield _check_package("liger_kernel", "pip install 'apo-bench[cuda]'")


def _asked(name: str, check_installed: Callable[[], None]) -> Check:
    try:
        check_installed()
    except ApoBenchError as error:
        return Check(name, False, str(error))
    return Check(name, True, "installed")


def _check_package(package: str, cure: str) -> Check:
    there = importlib.util.find_spec(package) is not None
    return Check(f"package {package}", there, "installed" if there else f"missing: {cure}")


def check_inputs(params: Params) -> Iterator[Check]:
    """The folders that the profile starts from."""
    folders = {"data": params.prepare.folder}
    if isinstance(params.base_model, PretrainedModel):
        folders["model"] = params.base_model.folder
    for name, folder in folders.items():
        there = Path(folder).is_dir()
        yield Check(f"input {name}", there, folder if there else f"{folder}: not there; `apo-bench fetch` gets it")


def check_own(params: Params) -> Iterator[Check]:
    """What `own_policy` and `own_reward` will ask of models of one's own; one that fails keeps none from being looked at."""
    for name, settings in params.references.own.items():
        yield from tried(f"policy {name}", _check_own_policy(params, name, settings))
    for name, settings in params.own_reward_models.items():
        yield from tried(f"reward model {name}", _check_own_reward_model(params, name, settings))


def _check_own_policy(params: Params, name: str, settings: ModelFolder) -> Iterator[Check]:
    model, tokenizer = load_own_policy(settings, f"references.{OWN}.{name}")
    failed = admit(model, tokenizer, params, settings.folder, is_start=False)
    yield Check(f"policy {name}", True, f"{type(model).__name__}: log-probabilities and greedy samples are its own{_not_taken(failed)}")


def _check_own_reward_model(params: Params, name: str, settings: ModelFolder) -> Iterator[Check]:
    longest = params.base_reward.max_length
    model, tokenizer = load_own_reward_model(settings, f"reward.{OWN}.{name}", params.compute, longest)
    failed = admit_reward_model(model, tokenizer, params, settings.folder)
    yield Check(f"reward model {name}", True, f"{type(model).__name__}: rewards are its own{_not_taken(failed)}")


def _not_taken(failed: list[str]) -> str:
    return f"; not taken, as they change something: {', '.join(failed)}" if failed else ""


def check_judge(params: Params) -> Iterator[Check]:
    """Whether the budget of the judge is enough, with every question asked once; a longer answer or an unreadable one takes more."""
    judge, run = params.judge, params.run
    if not judge.is_used or isinstance(judge.provider, GoldJudge):
        return
    num_arms = len(run.methods) * (len(run.reward_models) + len(run.retrained_reward_models)) * len(run.seeds)
    num_pairs = num_arms * len(judge.rounds) * params.prepare.num_test_prompts + len(judge.human_pairs) * judge.num_human_pairs
    needed = 2 * num_pairs
    found = f"{needed:,} questions at least, max_requests is {judge.provider.max_requests:,}"
    enough = needed <= judge.provider.max_requests
    if isinstance(judge.provider, ServerJudge):
        prompt = ASSUMED_QUESTION_TOKENS * judge.provider.usd_per_million_prompt_tokens
        usd = needed * (prompt + ASSUMED_VERDICT_TOKENS * judge.provider.usd_per_million_completion_tokens) / 1e6
        found += f"; about {usd:,.0f} USD, max_usd is {judge.provider.max_usd:,.0f}"
        enough = enough and usd <= judge.provider.max_usd
    yield Check("judge", enough, found)


def check_splits(records: Records) -> Check:
    """No conversation, told by its first human turn, stands in two splits."""
    owner: dict[str, str] = {}
    shared = []
    for split in SPLITS:
        for key in {conversation(row["dialogue"]) for row in records[split]}:
            if owner.setdefault(key, split) != split:
                shared.append(f"{key[:60]!r} in {owner[key]} and {split}")
    found = f"{len(shared)} conversations in two splits, e.g. {shared[0]}" if shared else f"{len(owner)} conversations, each in one split"
    return Check("split leakage", not shared, found)


def check_near_duplicates(records: Records) -> Check:
    """Test prompts that are nearly the text of a training prompt, by MinHash of their word triples."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=NEAR_JACCARD, num_perm=128)
    trained = {row["dialogue"] for split in SPLITS[:2] for row in records[split]}
    test = {row["dialogue"] for row in records["pairs_test"]}

    def sketch(text: str) -> MinHash:
        words = text.lower().split()
        hashes = MinHash(num_perm=128)
        hashes.update_batch([" ".join(words[first : first + 3]).encode() for first in range(max(1, len(words) - 2))])
        return hashes

    for number, text in enumerate(sorted(trained)):
        index.insert(number, sketch(text))
    near = sum(bool(index.query(sketch(text))) for text in test)
    fraction = near / len(test)
    found = f"{near} of {len(test)} test prompts ({fraction:.1%}) nearly a training prompt; up to {MAX_NEAR_FRACTION:.0%} pass"
    return Check("near-duplicates", fraction <= MAX_NEAR_FRACTION, found)


def check_lengths(params: Params, records: Records, tokenizer: PreTrainedTokenizerFast) -> Iterator[Check]:
    """What truncation takes away, and whether prompt and response fit the model's positions."""
    rows, limit = records["pairs_rm"], params.compute.max_prompt_length
    whole = encode_prompts(tokenizer, [row["dialogue"] for row in rows], 1_000_000)
    long = sum(len(ids) > limit for ids in whole) / len(whole)
    yield Check("prompt lengths", True, f"{long:.1%} of prompts longer than {limit} tokens lose their oldest turns")
    responses = [[row["chosen"], row["rejected"]] for row in rows]
    max_length = params.base_reward.max_length
    groups = encode(tokenizer, [row["dialogue"] for row in rows], responses, max_length, limit)
    flat = [item for group in groups for item in group]
    cut = sum(item.prompt_length == 0 for item in flat) / len(flat)
    found = f"{cut:.1%} of responses longer than max_length {max_length} lose their beginning; up to {MAX_CUT_FRACTION:.0%} pass"
    yield Check("response lengths", cut <= MAX_CUT_FRACTION, found)
    for name in ("train", "test"):
        needed = limit + getattr(params.sampling, name).max_new_tokens
        if needed > params.sft.max_length:
            found = f"prompt and response take up to {needed} tokens, sft.max_length keeps {params.sft.max_length}: raise it"
            yield Check(f"sampling.{name}", False, found)


def check_model(params: Params, tokenizer: PreTrainedTokenizerFast) -> Iterator[Check]:
    """What `base_model` will ask of a pretrained model; a random Llama stands for one that is trained from scratch.

    Raises:
        ModelError: it would refuse it.
    """
    if isinstance(params.base_model, PretrainedModel):
        model, tokenizer = load_pretrained(params.base_model)
    else:
        model = new_llama(params.base_model, tokenizer, seed=0)
    failed = admit(model, tokenizer, params, params.base_model.folder)
    found = "log-probabilities, rewards and greedy samples are its own, at the lengths of the run"
    yield Check("model", True, f"{type(model).__name__}: {found}{_not_taken(failed)}")


def tried(name: str, checks: Iterator[Check]) -> Iterator[Check]:
    """The checks; a last one that fails if they end in an error of the input."""
    try:
        yield from checks
    except ApoBenchError as error:
        yield Check(name, False, str(error))


def check_resources(params: Params, num_parameters: float, memory: float, num_models: int, num_together: int) -> Iterator[Check]:
    """Disk for the `num_models` that stages write, and memory for the stages side by side, on a GPU or on the cores, if all are large."""
    disk = num_models * num_parameters * 4 * 2  # in the workspace and in DVC's cache
    free = shutil.disk_usage(".").free
    yield Check("disk", disk < free, f"{num_models} models take {disk / GIB:.1f} GiB with DVC's cache, {free / GIB:.0f} GiB are free")
    device = params.compute.device
    if device == "cpu":
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    else:
        import torch

        there = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 80 * GIB
    found = f"a stage takes up to {memory / GIB:.1f} GiB, {num_together} side by side {num_together * memory / GIB:.1f}"
    found += f"; {'each GPU' if device == 'cuda' else device} has {there / GIB:.0f} GiB"
    yield Check("memory", num_together * memory < there, found)
