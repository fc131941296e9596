"""What the report of a comparison holds, in the order of the page, its Markdown and its files for a paper."""

import numpy as np

from apo_bench.comparison.numbers import decimal
from apo_bench.comparison.results import FIXED, Comparison, Policy
from apo_bench.config.sections import Compare
from apo_bench.core.layout import SFT, START_ROUND
from apo_bench.core.seeds import derive_seed
from apo_bench.evaluation.metrics import measurable
from apo_bench.report.budget import budget_section
from apo_bench.report.charts import charts
from apo_bench.report.claims import claims_section, own_section
from apo_bench.report.game import game_section
from apo_bench.report.glossary import drawn_anew, policy_title, prompts_of, table_policies, terms
from apo_bench.report.judge import judge_section
from apo_bench.report.labels import labels_section, predictors_section
from apo_bench.report.page import FOOTER, page
from apo_bench.report.pareto import pareto_chart
from apo_bench.report.policies import differences_sections, mechanism_sections, policies_section, reward_models_section, unlike_sections
from apo_bench.report.section import Answer, Section, Shown, Words, glossary

TITLE = "Does a reward model that plays against the policy make a better policy?"
SHOWN_REFERENCES = (SFT, "golden")
SHOWN_SCORES = {"gold": "gold", "reward_all": "RM_all"}
"""Scores of a single response, by their key in its row."""
NUM_OPEN = 2
"""Prompts whose answers are seen without a click."""


def contents(comparison: Comparison, settings: Compare) -> list[Section]:
    """All sections that the comparison has."""
    drawn = [*charts(comparison), *([pareto_chart(comparison)] if comparison.budgets else [])]
    sections = [
        *unlike_sections(comparison),
        policies_section(comparison),
        *differences_sections(comparison),
        Section("charts", "Charts", [*drawn]),
        claims_section(comparison.verdicts),
        own_section(comparison.verdicts),
        labels_section(comparison),
        *mechanism_sections(comparison),
        judge_section(comparison),
        game_section(comparison),
        reward_models_section(comparison),
        predictors_section(comparison),
        budget_section(comparison),
        _samples_section(comparison, settings),
    ]
    known = [section for section in sections if section]
    return [*known, Section("glossary", "What the words mean", [Words(glossary(known) | terms(comparison))])]


def render_report(comparison: Comparison, sections: list[Section]) -> str:
    """The page of `contents`."""
    return page(comparison.profile, TITLE, _lead(comparison), _sizes(comparison), sections, FOOTER)


def _lead(comparison: Comparison) -> str:
    """What the reader has to know first."""
    retrained = comparison.run.retrained_reward_models
    controls = [name for name in comparison.run.reward_models if name not in (FIXED, *retrained)]
    anew, num_seeds = drawn_anew(comparison), len(comparison.seeds)
    what = f"Each method is run with several reward models: with one that is trained once on human pairs and then fixed ({FIXED})"
    if retrained:
        what += f", and with one that each round learns anew to tell golden responses from the policy’s own ({', '.join(retrained)})"
    if controls:
        what += f"; beside them stand controls ({', '.join(controls)})"
    done = (
        f"All is done once: with other {anew} it may come out another way."
        if num_seeds == 1
        else f"All is done {num_seeds} times (replicates), with {anew} made anew; base model, corpus and prompts stay as they are."
    )
    return f"{what}. All else is the same: start, prompts, rounds, settings. {done}"


def _sizes(comparison: Comparison) -> dict[str, str]:
    """What was compared, and on how much."""
    arms = comparison.arms
    prompts = " and ".join(f"{count} {prompts_of(comparison, kind)}" for kind, count in comparison.num_prompts.items())
    names = {
        "pairs_rm": "human pairs for RM_base",
        "pairs_lm": "more for RM_all",
        "prompts_lm": "prompts of the game",
        "golden_rm": "golden responses",
        "pairs_test": "test pairs",
    }
    return {
        "Methods": ", ".join(dict.fromkeys(str(arm.method).upper() for arm in arms)),
        "Reward models": ", ".join(dict.fromkeys(str(arm.reward_model) for arm in arms)),
        "Rounds": str(len(comparison.rounds)),
        "Replicates": f"{len(comparison.seeds)}: seeds {', '.join(map(str, comparison.seeds))}",
        "Test prompts": f"{comparison.num_test_prompts}: {prompts}",
        "Data": ", ".join(f"{comparison.sizes[key]} {name}" for key, name in names.items() if key in comparison.sizes),
    }


def _samples_section(comparison: Comparison, settings: Compare) -> Section:
    """Prompts, drawn by seed and half of them of either kind, and what the policies answered."""
    start = comparison.policies[SFT].rows[START_ROUND]
    kinds, queues = list(comparison.num_prompts), []
    for subset in kinds:
        members = [number for number, row in enumerate(start) if row["subset"] == subset]
        queues.append(np.random.default_rng(derive_seed(settings.seed, "shown", subset)).permutation(members).tolist())
    longest = max(map(len, queues))
    numbers = [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)][: settings.num_shown_prompts]
    policies = [policy for policy in table_policies(comparison) if policy.is_arm or policy.is_own or policy.name in SHOWN_REFERENCES]
    keys = measurable(SHOWN_SCORES, comparison.has_gold)
    shown = [
        Shown(
            start[index]["subset"],
            kinds.index(start[index]["subset"]),
            _readable(start[index]["dialogue"]),
            [_answer(policy, index, keys) for policy in policies],
            is_open=place < NUM_OPEN,
        )
        for place, index in enumerate(numbers)
    ]
    both = ", of both kinds" if len(comparison.num_prompts) == 2 else ""
    note = f"{len(shown)} test prompts, drawn by seed and not by hand{both}; arms after {comparison.rounds[-1]}."
    return Section("samples", "What the policies say", [note, *shown])


def _answer(policy: Policy, index: int, keys: tuple[str, ...]) -> Answer:
    row = policy.rows[policy.last_round][index]
    scores = [(SHOWN_SCORES[key], decimal(row[key], 2)) for key in keys]
    return Answer(policy_title(policy), row["response"].strip(), scores)


def _readable(dialogue: str) -> str:
    """A dialogue without the marker of the turn to come and, if it has one turn only, without the speaker."""
    text = dialogue.strip().removesuffix("Assistant:").strip()
    return text.removeprefix("Human:").strip() if text.count("Human:") == 1 else text
