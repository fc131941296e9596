"""What policies cost, shown: the table, the front of the chart, the page of seconds."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from claimed import claimed
from lock_file import COUNTS, LockFile

from apo_bench.comparison.results import Comparison, Policy
from apo_bench.core.layout import Arm
from apo_bench.evaluation.metrics import METRICS
from apo_bench.evaluation.statistics import Estimate
from apo_bench.provenance.budgets import policy_models, read_budgets
from apo_bench.provenance.lock import Lock
from apo_bench.report.budget import budget_section, flop_unit
from apo_bench.report.contents import contents, render_report
from apo_bench.report.pareto import Point, _points, pareto_chart, pareto_front
from apo_bench.report.section import as_markdown, tables
from apo_bench.report.times import render_times, times_summary

ARMS = [Arm("dpo", "base", 0), Arm("dpo", "adversarial", 0)]
REFERENCES = ["sft", "golden", "human", "best_of_n"]
SCORES = {"sft": 0.0, "golden": 1.5, "human": 0.2, "best_of_n": 5.0, "dpo-base": 1.0, "dpo-adversarial": 2.0}


@pytest.fixture
def run(params):
    """One method, both reward models, two rounds, one replicate."""
    kinds = {
        "reward_models": ["base", "adversarial"],
        "fixed_reward_models": ["base"],
        "gold_reward_models": [],
        "sft_start_reward_models": ["base", "adversarial"],
    }
    return params.run.model_copy(update={"methods": ["dpo"], "later_rounds": params.run.later_rounds[:1], "seeds": [0], **kinds})


@pytest.fixture
def budgets(tmp_path, run):
    """One method with both reward models, with seconds."""
    lock_file = LockFile(tmp_path, Path("out/results"))
    lock_file.start()
    for arm in ARMS:
        lock_file.arm(arm.method, arm.reward_model)
    models = policy_models(Path("out/models"), run, REFERENCES)
    return read_budgets(Lock(lock_file.save()), models, with_seconds=True)


@pytest.fixture(params=["gold", "reward_all"])
def comparison(request, budgets, params, run):
    """Policies with the scores of SCORES, twice as much after r2, by gold or where it is unknown by RM_all."""
    names = ("reward_all", "kl_to_sft") + (("gold",) if request.param == "gold" else ())
    rows = [
        {"id": "0", "subset": "helpful", "dialogue": "\n\nHuman: Hi?\n\nAssistant:", "response": "Yes.", "gold": 1.0, "reward_all": 1.0}
    ]

    def policy(name, rounds, *arm):
        values = {round_id: number * SCORES[name] for number, round_id in enumerate(rounds, start=1)}
        estimates = {r: dict.fromkeys(names, Estimate(v, v - 1, v + 1, 0.5)) for r, v in values.items()}
        start = {"r0": dict.fromkeys(names, Estimate(0.0, -1.0, 1.0, 0.5))} if arm else {}
        return Policy(name, dict.fromkeys(rounds, rows), estimates, start | estimates, (f"{name}-s0",), *arm)

    references = {name: policy(name, ["r0"]) for name in REFERENCES}
    arms = {arm.group: policy(arm.group, ["r1", "r2"], arm.method, arm.reward_model) for arm in ARMS}
    on_pairs = dict.fromkeys(
        (
            "human_accuracy",
            "human_accuracy_standard_error",
            "ece",
            "ace",
            "mce",
            "golden_accuracy",
            "best_of_n_gain",
            "perfect_best_of_n_gain",
        ),
        0.5,
    )
    metrics = [metric for metric in METRICS if metric.name in names]
    return Comparison(
        profile="tiny",
        confidence=0.95,
        run=run,
        metrics=metrics,
        num_prompts={"helpful": 1},
        num_path_prompts=1,
        data=params.prepare,
        sizes={},
        policies=references | arms,
        replicates={},
        fixed_reward_models={"base": on_pairs, "all": on_pairs},
        reward_models={arm.group: dict.fromkeys(("r1", "r2"), on_pairs) for arm in ARMS},
        differences={},
        verdicts=claimed(params),
        budgets=budgets,
    )


def test_front_is_what_no_other_beats_at_no_more_cost():
    """b beats d at the same cost and c at less; e scores as b does and costs more."""
    points = [Point(5, 2.0, "f"), Point(1, 0.0, "a"), Point(2, 1.0, "b"), Point(3, 0.5, "c"), Point(2, 0.9, "d"), Point(4, 1.0, "e")]
    assert [point.name for point in pareto_front(points)] == ["a", "b", "f"]


def test_chart_is_of_gold_where_it_is_known_and_names_the_front(comparison):
    """SFT is the cheapest; golden beats it; the adversarial arm beats golden after r1 and itself after r2; the base arm is never on it."""
    chart = pareto_chart(comparison)
    title = "Gold" if comparison.metric("gold") else "RM_all"
    assert f"{title} against all the compute" in chart.text
    assert "intervals: SFT, SFT on golden, DPO adversarial r1, DPO adversarial r2." in chart.text
    assert len(chart.panels) == 1 and b"<svg" in chart.panels[0].svg


def rows_of(table):
    """First cell -> the texts of the others."""
    return {row.cells[0].text: [cell.text for cell in row.cells[1:]] for row in table.rows}


def test_table_has_the_counts_of_each_policy_and_says_what_is_shared(comparison):
    section = budget_section(comparison)
    policies, stages = tables([section])
    rows = rows_of(policies)
    assert rows["DPO base"][:5] == ["16", "16", "80", "340", "1,210"]
    assert rows["SFT"] == ["0", "0", "0", "0", "1,100", "0.066", "100"]
    assert [column.head for column in policies.columns[-2:]] == ["Compute, MFLOP", "Shared, %"]
    assert rows_of(stages)["sft@0"][0] == "5"
    assert "| DPO base | 16 | 16 | 80 | 340 | 1,210 |" in as_markdown([section])


def test_rows_and_points_are_means_over_replicates(comparison, tmp_path, run):
    """In the second replicate each alignment of the base arm has trained on 10 tokens more: 20 up to the last round, 10 in the mean."""
    lock_file = LockFile(tmp_path, Path("out/results"))
    for seed in (0, 1):
        lock_file.start(seed)
        for arm in ARMS:
            lock_file.arm(arm.method, arm.reward_model, seed)
    for round_id in ("r1", "r2"):
        metrics = COUNTS["align"] | {"num_tokens_trained": 40}
        lock_file.left[Path(f"out/results/s1/arms/dpo-base/{round_id}/align/metrics.json")] = metrics
    run = run.model_copy(update={"seeds": [0, 1]})
    budgets = read_budgets(Lock(lock_file.save()), policy_models(Path("out/models"), run, REFERENCES))
    policies = {name: replace(found, members=(f"{name}-s0", f"{name}-s1")) for name, found in comparison.policies.items()}
    changed = replace(comparison, run=run, budgets=budgets, policies=policies)
    table, stages = tables([budget_section(changed)])
    rows = rows_of(table)
    assert rows["DPO base"][4] == "1,220" and rows["DPO adversarial"][4] == "1,280"
    assert list(rows) == ["SFT", "SFT on golden", "DPO on human pairs", "DPO base", "DPO adversarial"], "one a row of the table of policies"
    assert [(name, users) for name, (users, *_) in rows_of(stages).items()] == [
        *(("base_model", "10"), ("sft@0", "5"), ("sft@1", "5")),
        *(("sample_lm@first-r1", "2"), ("sample_lm@first1-r1", "2")),
    ]
    flop = 10 * (2 * (80 + 340) + 6 * 1220)
    [point] = [point for point in _points(budgets, METRICS[0], policies["dpo-base"]) if point.name == "DPO base r2"]
    assert point.cost == flop


def test_page_shows_it_and_has_no_seconds_so_that_it_is_the_same_bytes_twice(comparison, params):
    page = render_report(comparison, contents(comparison, params.compare))
    assert "What each policy took" in page and ">1,210</td>" in page and "counts whole for each of them" in page
    assert page.count("<caption") == page.count("<table") and not re.search(r"Wall|Processor", page)


def test_units_of_compute_fit_the_largest():
    assert [flop_unit(value)[1] for value in (5.0, 3e9, 2.5e13, 4e15)] == ["MFLOP", "GFLOP", "TFLOP", "PFLOP"]


def test_page_of_seconds_shows_policies_and_stages(budgets, params):
    page = render_times(budgets, params)
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", page, flags=re.DOTALL)]
    assert ["dpo-base-s0", "18.0", "9.0", "0.0"] in [row[:4] for row in rows]
    assert ["sample_lm@first-r1", "2", "2.0", "1.0"] in [row[:4] for row in rows]
    assert 'src="' not in page and "<script" not in page and "http" not in page
    seconds = times_summary(budgets)["dpo-base-s0"]["r2"]
    assert (seconds["wall_seconds"], seconds["shared"]["wall_seconds"]) == (18.0, 6.0)
