"""The comparison as one HTML page that needs nothing else: no network, no font, no script."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from apo_bench.claims.inference import EQUIVALENT, UNDECIDED
from apo_bench.comparison.results import FIXED, SFT, Compared, Comparison, Difference, Metric, Policy, measurable, mechanism
from apo_bench.core.sections import START_ROUND, Compare
from apo_bench.core.seeds import derive_seed
from apo_bench.evaluation.statistics import Estimate
from apo_bench.report import glossary
from apo_bench.report.budget import budget_view
from apo_bench.report.charts import Chart, legend
from apo_bench.report.claims import EXPLAINED, claim_rows, family_title
from apo_bench.report.game import game_view
from apo_bench.report.judge import judge_view
from apo_bench.report.tables import (
    CLAIM_METRICS,
    MINUS,
    UNITS,
    averaged_over,
    decimal,
    interval,
    intervals_over,
    last_differences,
    method_title,
    number,
    policy_title,
    table_policies,
    verdicts_explained,
)

FOLDER = Path(__file__).parent
SHOWN_REFERENCES = (SFT, "golden")
SHOWN_SCORES = {"gold": "gold", "reward_all": "RM_all"}
"""Scores of a single response, by their key in its row."""
MARKS = {"better": "▲", "worse": "▼", "equal": "=", "undecided": "○"}
"""A shape beside each colour, for readers and printers without."""


@dataclass(frozen=True)
class Cell:
    """A number of a table: value, interval and, in a table of differences, the verdict."""

    value: str
    interval: str
    verdict: str = ""
    standing: str = ""
    """`better` (than the fixed reward model), `worse`, `equal` or `undecided`; empty without a verdict."""
    mark: str = ""


@dataclass(frozen=True)
class Answer:
    """A response to a shown prompt."""

    policy: str
    response: str
    scores: list[tuple[str, str]]
    """Title and value of each metric of `SHOWN_SCORES` that is known."""


def render_page(comparison: Comparison, settings: Compare, figures: list[Chart], game_figures: dict[str, list[Chart]]) -> str:
    """The page as HTML; the same comparison gives the same bytes."""
    run = comparison.run
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.j2").render(
        comparison=comparison,
        css=(FOLDER / "page.css").read_text(encoding="utf-8"),
        level=f"{comparison.confidence:.0%}",
        sizes=_sizes(comparison),
        retrained=", ".join(run.retrained_reward_models),
        controls=", ".join(name for name in run.reward_models if name not in (FIXED, *run.retrained_reward_models)),
        replicates=_replicates(comparison),
        averaged=averaged_over(comparison),
        over=intervals_over(comparison),
        findings=_findings(comparison),
        mechanism=mechanism(comparison) if comparison.has_gold else [],
        metrics=comparison.metrics,
        units=UNITS,
        policies=[
            (policy_title(policy), policy.is_arm, _cells(comparison, policy.rounds[policy.last_round]))
            for policy in table_policies(comparison)
        ],
        differences=[
            (method_title(difference), round_id, _difference_cells(comparison, difference, round_id))
            for difference in comparison.differences.values()
            for round_id in comparison.rounds
        ],
        charts=figures,
        legend=legend(comparison),
        reward_models=_reward_models(comparison),
        reward_model_metrics=[glossary.REWARD_MODEL_METRICS[name] for name in _reward_model_metrics(comparison)],
        claims=[(family_title(comparison.verdicts, family), claim_rows(family)) for family in comparison.verdicts.families],
        claims_explained=EXPLAINED,
        judge=judge_view(comparison),
        game=game_view(comparison, game_figures),
        budget=budget_view(comparison),
        shown=_shown(comparison, settings),
        glossary=glossary,
        terms=glossary.terms(comparison),
        marks=MARKS,
        verdicts_explained=verdicts_explained(comparison),
    )


def _replicates(comparison: Comparison) -> str:
    """How often everything is done."""
    anew = glossary.drawn_anew(comparison)
    if len(comparison.seeds) == 1:
        return f"All is done once: with other {anew} it may come out another way."
    return (
        f"All is done {len(comparison.seeds)} times (replicates), with {anew} made anew; base model, corpus and prompts stay as they are."
    )


def _sizes(comparison: Comparison) -> list[tuple[str, str]]:
    """What was compared, and on how much."""
    arms = comparison.arms
    prompts = " and ".join(f"{count} {glossary.prompts_of(comparison, kind)}" for kind, count in comparison.num_prompts.items())
    names = {
        "pairs_rm": "human pairs for RM_base",
        "pairs_lm": "more for RM_all",
        "prompts_lm": "prompts of the game",
        "golden_rm": "golden responses",
        "pairs_test": "test pairs",
    }
    return [
        ("Methods", ", ".join(dict.fromkeys(str(arm.method).upper() for arm in arms))),
        ("Reward models", ", ".join(dict.fromkeys(str(arm.reward_model) for arm in arms))),
        ("Rounds", str(len(comparison.rounds))),
        ("Replicates", f"{len(comparison.seeds)}: seeds {', '.join(map(str, comparison.seeds))}"),
        ("Test prompts", f"{comparison.num_test_prompts}: {prompts}"),
        ("Data", ", ".join(f"{comparison.sizes[key]} {name}" for key, name in names.items() if key in comparison.sizes)),
    ]


def _findings(comparison: Comparison) -> list[tuple[str, list[tuple[str, Cell]]]]:
    """The differences from the fixed reward model that matter most, after the last round."""
    shown = list(filter(None, map(comparison.metric, CLAIM_METRICS)))
    return [
        (f"{title} {MINUS} base", [(metric.title, _difference_cell(reward_model, metric, differences[metric.name])) for metric in shown])
        for title, reward_model, differences in last_differences(comparison)
    ]


def _cells(comparison: Comparison, estimates: dict[str, Estimate]) -> list[Cell]:
    return [Cell(number(m, estimates[m.name].value), interval(m, estimates[m.name])) for m in comparison.metrics]


def _difference_cells(comparison: Comparison, difference: Difference, round_id: str) -> list[Cell]:
    found = difference.rounds[round_id]
    return [_difference_cell(difference.reward_model, metric, found[metric.name]) for metric in comparison.metrics]


def _difference_cell(reward_model: str, metric: Metric, found: Compared) -> Cell:
    shown = number(metric, found.value, signed=True), interval(metric, found, signed=True)
    if found.verdict is None:
        return Cell(*shown)
    standing = {UNDECIDED: "undecided", EQUIVALENT: "equal", f"{reward_model} better": "better"}.get(found.verdict, "worse")
    return Cell(*shown, found.verdict, standing, MARKS[standing])


def _measured_reward_models(comparison: Comparison) -> list[tuple[str, str, dict[str, float]]]:
    """Rows (reward model, round, metrics) of the table of reward models."""
    rows = [(f"RM_{name}", "", found) for name, found in comparison.fixed_reward_models.items()]
    return rows + [
        (policy_title(arm), round_id, found) for arm in comparison.arms for round_id, found in comparison.reward_models[arm.name].items()
    ]


def _reward_model_metrics(comparison: Comparison) -> list[str]:
    """The columns of the table of reward models: what any of them was measured by."""
    measured = {name for _, _, found in _measured_reward_models(comparison) for name in found}
    return [name for name in glossary.REWARD_MODEL_METRICS if name in measured]


def _reward_models(comparison: Comparison) -> list[tuple[str, str, list[str]]]:
    """Rows (reward model, round, values) of the table of reward models."""
    columns = _reward_model_metrics(comparison)
    return [
        (title, round_id, [decimal(found[name], 3) if name in found else "" for name in columns])
        for title, round_id, found in _measured_reward_models(comparison)
    ]


def _shown(comparison: Comparison, settings: Compare) -> list[dict[str, Any]]:
    """Prompts, drawn by seed and half of them of either kind, and what the policies answered."""
    start = comparison.policies[SFT].rows[START_ROUND]
    queues = []
    for subset in comparison.num_prompts:
        members = [number for number, row in enumerate(start) if row["subset"] == subset]
        queues.append(np.random.default_rng(derive_seed(settings.seed, "shown", subset)).permutation(members).tolist())
    longest = max(map(len, queues))
    numbers = [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)][: settings.num_shown_prompts]
    policies = [policy for policy in table_policies(comparison) if policy.is_arm or policy.name in SHOWN_REFERENCES]
    return [
        {
            "subset": start[index]["subset"],
            "prompt": _readable(start[index]["dialogue"]),
            "answers": [_answer(policy, index, measurable(SHOWN_SCORES, comparison.has_gold)) for policy in policies],
        }
        for index in numbers
    ]


def _answer(policy: Policy, index: int, keys: tuple[str, ...]) -> Answer:
    row = policy.rows[policy.last_round][index]
    scores = [(SHOWN_SCORES[key], decimal(row[key], 2)) for key in keys]
    return Answer(policy_title(policy), row["response"].strip(), scores)


def _readable(dialogue: str) -> str:
    """A dialogue without the marker of the turn to come and, if it has one turn only, without the speaker."""
    text = dialogue.strip().removesuffix("Assistant:").strip()
    return text.removeprefix("Human:").strip() if text.count("Human:") == 1 else text
