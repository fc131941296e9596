"""The plan of a profile: its checks, what its stages cost, and how long the whole takes."""

import os
from collections import Counter
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from apo_bench.config.params import Params
from apo_bench.config.sections import PretrainedModel, ScratchModel
from apo_bench.core.errors import ApoBenchError
from apo_bench.core.layout import MODELS, is_in
from apo_bench.core.seeds import use_threads
from apo_bench.core.stage import Sizes, Work
from apo_bench.engines.devices import Need
from apo_bench.models.chat_template import describe
from apo_bench.models.language_model import new_llama
from apo_bench.plan.checks import (
    Check,
    check_inputs,
    check_judge,
    check_lengths,
    check_model,
    check_near_duplicates,
    check_own,
    check_packages,
    check_resources,
    check_splits,
    tried,
)
from apo_bench.plan.costs import Rates, assumed_rates, calibrate, simulate
from apo_bench.plan.inputs import read_or_prepare, read_or_train_tokenizer
from apo_bench.plan.work import assume, measure, work_of
from apo_bench.scheduling import Host, Places, Schedule
from apo_bench.stages import host_of, num_on_a_gpu, num_side_by_side, stage_graph, stage_index, stage_needs, this_host


@dataclass(frozen=True)
class Plan:
    """What was found."""

    checks: list[Check]
    works: dict[str, Work]
    """Stage -> its work."""
    seconds: dict[str, float]
    """Stage -> how long it takes."""
    total_seconds: float
    host: Host
    """The machine that was planned for."""
    rates: Rates
    device: str

    @property
    def passed(self) -> bool:
        """Whether the run may begin."""
        return all(check.passed for check in self.checks)


def make_plan(params: Params) -> Plan:
    """Plans the profile in the current folder.

    Raises:
        ConfigError: dvc.yaml cannot be read.
    """
    use_threads(params.compute.num_threads)
    index = stage_index(params.root)
    (order, parents), needs = stage_graph(index), stage_needs(index, params)
    host = _planned_host(params, needs)
    num_together = num_on_a_gpu(host, needs) if host.devices else host.num_slots
    checks = [*check_packages(params), *check_inputs(params)]
    records, tokenizer = None, None
    if all(check.passed for check in checks):
        try:
            records = read_or_prepare(params)
            tokenizer = read_or_train_tokenizer(params, records)
        except ApoBenchError as error:
            checks.append(Check("data" if records is None else "tokenizer", False, str(error)))
    num_parameters = _num_parameters(params, tokenizer)
    if records is not None:
        checks += [check_splits(records), check_near_duplicates(records)]
    if records is not None and tokenizer is not None:
        checks += [
            Check("tokenizer", True, describe(tokenizer)),
            *tried("prompts", check_lengths(params, records, tokenizer)),
            *tried("model", check_model(params, tokenizer)),
        ]
    if records is not None and tokenizer is not None and all(check.passed for check in checks if check.name in ("prompts", "model")):
        rates = calibrate(params, records, tokenizer, num_together)
        sizes: Sizes = measure(params, records, tokenizer, rates.sampled)
    else:
        rates, sizes = assumed_rates(num_parameters, params, num_together), assume(params)
    checks += [*check_own(params), *check_judge(params)]
    num_models = sum(is_in(out.def_path, MODELS) for stage in index.stages for out in stage.outs)
    checks += check_resources(params, num_parameters, rates.memory, num_models, num_together)
    commands = {stage.addressing: stage.cmd for stage in index.stages}
    works = {stage: work_of(commands[stage], params, sizes) for stage in order}
    seconds = {stage: rates.seconds(work) for stage, work in works.items()}
    total = simulate(seconds, Schedule(order, parents, needs), Places([host]))
    return Plan(checks, works, seconds, total, host, rates, params.compute.device)


def _planned_host(params: Params, needs: dict[str, Need]) -> Host:
    """This machine or, where a profile for GPUs finds none, one with as many as its largest stage takes."""
    host, is_for_gpus = this_host(params), params.compute.device == "cuda" and not params.engines.trainer.hosts_file
    if host.devices or not is_for_gpus:
        return host
    num_devices = max(need.num_devices for need in needs.values())
    num_cores = max(os.cpu_count() or 1, num_devices * params.compute.stages_per_gpu)
    return host_of("", params, num_cores, tuple(map(str, range(num_devices))))


def _num_parameters(params: Params, tokenizer: object) -> float:
    """Of the model: as published if it is pretrained, else counted."""
    if isinstance(params.base_model, PretrainedModel):
        return params.base_model.num_parameters
    model: ScratchModel = params.base_model
    return new_llama(model, tokenizer, 0).num_parameters() if tokenizer else 0  # type: ignore[arg-type]


def stage_table(plan: Plan) -> Table:
    """A row a kind of stage: how many, tokens, processor hours."""
    table = Table(title="Stages")
    for column in ("stages", "number", "tokens", "hours each", f"{plan.device}-hours"):
        table.add_column(column, justify="left" if column == "stages" else "right")
    kinds = Counter(stage.partition("@")[0].removesuffix("_first") for stage in plan.works)
    for kind, number in kinds.items():
        mine = [stage for stage in plan.works if stage.partition("@")[0].removesuffix("_first") == kind]
        tokens, seconds = sum(plan.works[stage].tokens for stage in mine), sum(plan.seconds[stage] for stage in mine)
        table.add_row(kind, str(number), f"{tokens:,.0f}", f"{seconds / number / 3600:.3f}", f"{seconds / 3600:.2f}")
    return table


def check_table(plan: Plan) -> Table:
    """A row a check."""
    table = Table("check", "", "found", title="Checks")
    for check in plan.checks:
        table.add_row(check.name, "ok" if check.passed else "[bold red]FAILS[/]", escape(check.found))
    return table


def summary(plan: Plan) -> str:
    """The plan in a line."""
    source = "timed on this machine" if plan.rates.is_measured else "assumed: an NVIDIA A100 at usual utilisation, nothing was measured"
    work = sum(plan.seconds.values()) / 3600
    verdict = "the run may begin" if plan.passed else f"{sum(not check.passed for check in plan.checks)} checks fail"
    num_together = num_side_by_side(plan.host)
    side = f"up to {num_together} side by side" if num_together > 1 else "one after another"
    if plan.host.devices:
        side += f" on {len(plan.host.devices)} GPU{'s' if len(plan.host.devices) > 1 else ''}"
    return f"{len(plan.works)} stages, {work:.2f} {plan.device}-hours, {plan.total_seconds / 60:.1f} minutes {side} ({source}); {verdict}"
