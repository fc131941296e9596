"""The page, with gold and without: valid, alone, the same bytes twice, and nothing that a policy says can leave its box."""

import html
import math
import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from unittest.mock import patch

import pytest
from claimed import claimed
from games import played
from matplotlib.figure import Figure

from apo_bench.comparison.results import Compared, Comparison, Difference, Policy
from apo_bench.evaluation.metrics import METRICS, NEEDS_GOLD
from apo_bench.evaluation.statistics import Estimate
from apo_bench.game.results import Game
from apo_bench.judge.results import Judged
from apo_bench.report.charts import COLOURS, charts, measured
from apo_bench.report.contents import contents, render_report
from apo_bench.report.glossary import GOLD_UNKNOWN, REWARD_MODEL_METRICS, policy_title
from apo_bench.report.section import as_markdown, figures, tables
from apo_bench.sources.hh import HH as Source

REFERENCES = ("sft", "golden", "human", "best_of_n")
VOID = {"meta", "link", "br", "img", "hr", "input"}
HOSTILE = '<script>alert(1)</script><img src=http://evil.example/x.png> & "quoted"'
ON_PAIRS = dict.fromkeys(REWARD_MODEL_METRICS, 0.5) | {"human_accuracy_standard_error": 0.02}
HH = {
    **{"source": "hh", "folder": "hh", "seed": 0, "subsets": ["helpful-base", "harmless-base"], "validation_fraction": 0.1},
    **{"num_rm_prompts": 2, "num_lm_prompts": 2, "num_game_prompts": 1, "num_validation_prompts": 1},
    **{"num_test_pairs": 6, "num_test_prompts": 6, "num_further_pairs": 0},
    "hub": {"name": "Anthropic/hh-rlhf", "revision": "0" * 40},
    "golden": {"source": "chosen"},
}


def policy(name, rounds, estimates, *arm, response="Yes.", scores):
    rows = [
        {"id": str(n), "subset": subset, "dialogue": f"\n\nHuman: Q{n} <b>?\n\nAssistant:", "response": response, **scores}
        for n, subset in enumerate(["helpful", "harmless"] * 3)
    ]
    found = {r: estimates(float(n)) for n, r in enumerate(rounds)}
    return Policy(name, dict.fromkeys(rounds, rows), found, ({"r0": estimates(0.0)} if arm else {}) | found, (f"{name}-s0",), *arm)


def judged(arms, rounds):
    """Judgements of all arms; the judge favours the first answer, and says something hostile of it."""
    estimate = {"value": 0.625, "low": 0.55, "high": 0.7, "standard_error": 0.04}
    names = ["win_rate", "length_controlled_win_rate", "longer_win_rate", "flip_fraction", "human_accuracy", "human_kappa"]
    names += [f"{name}_{subset}" for name in ("win_rate", "longer_win_rate") for subset in ("helpful", "harmless")]
    counts = dict.fromkeys(("num_prompts", "num_judged", "num_wins", "num_ties", "num_losses", "num_requests"), 6)
    numbers = {
        "estimates": dict.fromkeys(names, estimate),
        "counts": counts | {"num_identical": 1, "unreadable_fraction": 0.1, "usd": 1.25},
        "served_models": ["m-1"],
        "findings": [f"It favours the first answer. {HOSTILE}"],
    }
    by_arm = {f"{m}-{k}-s0": dict.fromkeys(rounds, numbers) for m, k, s in arms}
    against_base = {name: found for name, found in by_arm.items() if "base" not in name}
    return Judged("m <b>1", {"sft": by_arm, "base": against_base}, {"pairs_test": numbers})


def game(params, arms, rounds, has_gold):
    """The games of all arms; without gold there is no judge either, and nothing says which response is better."""
    against = "gold" if has_gold else ""
    names = [f"{name}-s0" for name in REFERENCES] if has_gold else []
    standing = {"is_pareto": True, "share": 0.5, "standing": "undecided"}
    frontier = {name: {"r0": standing} for name in names}
    frontier |= {f"{m}-{k}-s0": dict.fromkeys(rounds, standing) for m, k, s in arms if has_gold}
    return Game({f"{m}-{k}-s0": played(params, k, rounds, against) for m, k, s in arms}, frontier, against)


@pytest.fixture(scope="module", params=[True, False], ids=["gold", "gold unknown"])
def comparison(request, params):
    """Two methods with both reward models, two rounds, six prompts; the SFT policy is hostile. Without gold nothing carries it."""
    rounds = ["r1", "r2"]
    arms = [(m, k, 0) for m in ("rjs", "dpo") for k in ("base", "adversarial")]
    metrics = [metric for metric in METRICS if request.param or metric.key not in NEEDS_GOLD]
    on_pairs = {name: value for name, value in ON_PAIRS.items() if request.param or name not in NEEDS_GOLD}
    scores = {"reward_all": 2.0} | ({"gold": -1.0} if request.param else {})

    def estimates(value):
        return {metric.name: Estimate(value, value - 0.5, value + 0.5, 0.25) for metric in metrics}

    def compared(value, says=None):
        verdicts = {metric.name: says if metric.better else None for metric in metrics}
        return {name: Compared(**vars(estimate), verdict=verdicts[name]) for name, estimate in estimates(value).items()}

    kinds = {
        "reward_models": ["base", "adversarial"],
        "fixed_reward_models": ["base"],
        "gold_reward_models": [],
        "sft_start_reward_models": ["base", "adversarial"],
    }
    run = params.run.model_copy(update={"methods": ["rjs", "dpo"], "later_rounds": params.run.later_rounds[:1], "seeds": [0], **kinds})
    policies = {name: policy(name, ["r0"], estimates, response=HOSTILE, scores=scores) for name in REFERENCES}
    policies |= {f"{m}-{k}": policy(f"{m}-{k}", rounds, estimates, m, k, scores=scores) for m, k, s in arms}
    return Comparison(
        profile="tiny",
        confidence=0.95,
        run=run,
        metrics=metrics,
        num_prompts={"helpful": 3, "harmless": 3},
        num_path_prompts=6,
        data=params.prepare if request.param else Source.model_validate(HH),
        sizes={"pairs_rm": 10},
        policies=policies,
        replicates={f"{name}-s0": replace(found, name=f"{name}-s0", seed=0) for name, found in policies.items()},
        fixed_reward_models={"base": {n: v for n, v in on_pairs.items() if n != "golden_accuracy"}, "all": on_pairs},
        reward_models={f"{m}-{k}": dict.fromkeys(rounds, on_pairs) for m, k, s in arms},
        verdicts=claimed(params if request.param else params.model_copy(update={"prepare": Source.model_validate(HH)})),
        judged=judged(arms, rounds) if request.param else None,
        game=game(params, arms, rounds, request.param),
        differences={
            f"{m}-{k}": Difference(f"{m}-{k}", m, k, {"r1": compared(0.25), "r2": compared(1.0, "adversarial better")})
            for m, k, s in arms
            if k != "base"
        },
    )


def page_of(comparison, params):
    """The page as the stage makes it, but for the chart of the budget."""
    return render_report(comparison, contents(comparison, params.compare))


def undrawn_page_of(comparison, params):
    """The same with nothing in its pictures, which take most of the time."""
    with patch("apo_bench.report.pictures.picture", return_value=b"<svg/>"):
        return page_of(comparison, params)


def draw(comparison, settings):
    """Puts all that the figures show on axes, which is what can fail; no file is made of it."""
    for chart in figures(contents(comparison, settings)):
        for panel in chart.panels:
            panel.onto(Figure().add_subplot())


@pytest.fixture(scope="module")
def page(comparison, params):
    """The page of that comparison."""
    return page_of(comparison, params)


@pytest.fixture(scope="module")
def replicated(comparison, params):
    """The same as the mean over five replicates, and beside the game a control or, with gold, two."""
    controls = ["no_adversarial", *(["oracle"] if comparison.has_gold else [])]
    better = {"no_adversarial": "base", "oracle": "oracle"}
    kinds = ["base", *controls, "adversarial"]
    lists = {"fixed_reward_models": ["base", "no_adversarial"], "gold_reward_models": ["oracle"] if comparison.has_gold else []}
    policies, differences, reward_models = dict(comparison.policies), dict(comparison.differences), dict(comparison.reward_models)
    for method in ("rjs", "dpo"):
        adversarial = comparison.differences[f"{method}-adversarial"]
        for kind in controls:
            name = f"{method}-{kind}"
            policies[name] = replace(comparison.policies[f"{method}-base"], name=name, reward_model=kind)
            rounds = {
                round_id: {name: replace(one, verdict=one.verdict and f"{better[kind]} better") for name, one in found.items()}
                for round_id, found in adversarial.rounds.items()
            }
            differences[name] = replace(adversarial, name=name, reward_model=kind, rounds=rounds)
            measured = {"sample_accuracy": 1.0} if kind == "oracle" else comparison.reward_models[f"{method}-base"]["r1"]
            reward_models[name] = dict.fromkeys(("r1", "r2"), measured)
    return replace(
        comparison,
        run=comparison.run.model_copy(update={"seeds": list(range(5)), "reward_models": kinds, **lists}),
        policies=policies,
        differences=differences,
        reward_models=reward_models,
    )


class Checker(HTMLParser):
    """Collects unclosed or wrongly nested elements, ids, and all attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.faults, self.ids, self.attributes, self.tags = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append((tag, self.getpos()))


@pytest.fixture(scope="module")
def checked(page):
    """The page, parsed."""
    checker = Checker()
    checker.feed(page)
    return checker


def test_is_well_formed(page, checked):
    assert page.startswith("<!DOCTYPE html>")
    assert not checked.faults and not checked.open
    assert len(set(checked.ids)) == len(checked.ids)


def test_every_reference_within_the_page_exists(checked):
    referenced = {value.removeprefix("#") for name, value in checked.attributes if name == "href" and value.startswith("#")}
    labelled = {value for name, value in checked.attributes if name == "aria-labelledby"}
    assert labelled and (referenced | labelled) <= set(checked.ids)


def test_loads_nothing(page, checked):
    assert not {"script", "link", "iframe", "object"} & set(checked.tags)
    assert all(value.startswith("data:image/svg+xml;base64,") for name, value in checked.attributes if name in ("src", "srcset", "data"))
    assert "http" not in page.replace("http://evil.example", "")
    assert "@import" not in page and "@font-face" not in page


def test_responses_and_prompts_are_escaped(page):
    assert "<script" not in page and "<b>?" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "Q0 &lt;b&gt;?" in page


def test_same_bytes_twice(comparison, params, page):
    assert page_of(comparison, params) == page


def test_charts_and_tables_are_described(page, checked, comparison):
    pictures = re.findall(r"<img[^>]*>", page)
    of_game = 8 + 2 * (3 + 1 + 1) if comparison.has_gold else 8 + 2 * 2  # heat maps; then a panel a method and chart
    assert len(pictures) == of_game + (3 * 2 + 4 + 2 if comparison.has_gold else 2 + 3 + 1)  # the same, reward models, costs
    assert all(len(re.search('alt="([^"]*)"', picture)[1]) > 20 for picture in pictures)
    assert (
        checked.tags.count("caption") == checked.tags.count("table") == (10 + 5 if comparison.judged else 5 + 3)
    )  # with those of the game


def test_page_and_markdown_hold_the_same_tables(page, comparison, params):
    sections = contents(comparison, params.compare)
    written, read = as_markdown(sections), text_of(page)
    for table in tables(sections):
        for text in (table.caption, *(cell.text for row in table.rows for cell in row.cells)):
            assert text.replace("|", "\\|") in written and " ".join(text.split()) in read, (table.name, text)


def test_contents_list_every_section_and_numbers_come_before_claims(page, checked, comparison, params):
    nav = re.search(r"<nav.*?</nav>", page, flags=re.DOTALL)[0]
    names = [section.name for section in contents(comparison, params.compare)]
    assert re.findall('href="#([^"]+)"', nav) == names and set(names) <= set(checked.ids)
    assert names.index("policies") < names.index("findings") < names.index("charts") < names.index("claims")


def test_every_table_and_figure_can_be_saved(page, comparison, params):
    sections = contents(comparison, params.compare)
    saved = {name: b64decode(data) for data, name in re.findall(r'href="data:[^,"]*,([^"]*)" download="([^"]+)"', page)}
    assert set(saved) == {f"{table.name}.csv" for table in tables(sections)} | {f"{chart.name}.svg" for chart in figures(sections)}
    assert saved["policies.csv"].decode().startswith("Policy,RM_all,RM_all: low,RM_all: high,")
    assert all(text.count(b"<svg") == 1 for name, text in saved.items() if name.endswith(".svg"))


def test_dark_pages_have_colours_of_their_own_for_every_variable_and_chart(page):
    light, dark = re.findall(r":root \{(.*?)\}", page, flags=re.DOTALL)
    assert "prefers-color-scheme: dark" in page and 'name="color-scheme" content="light dark"' in page
    assert set(re.findall(r"(--[\w-]+):", light)) == set(re.findall(r"(--[\w-]+):", dark))
    assert not re.search(r"#[0-9a-f]{3,6}", re.search(r"<style>(.*?)</style>", page, flags=re.DOTALL)[1].split("* {", 1)[1])


def test_tables_of_sentences_say_what_their_cells_are_when_they_stack(page):
    stacks = re.findall(r'<table class="stacks">.*?</table>', page, flags=re.DOTALL)
    assert stacks and all(page.count('data-head="') == "".join(stacks).count('data-head="') for _ in stacks)
    assert '<td class="number " data-head="Detectable">0.38</td>' in "".join(stacks)


def test_tables_and_figures_have_names_of_their_own(comparison, params):
    sections = contents(comparison, params.compare)
    names = [one.name for one in (*tables(sections), *figures(sections))]
    panels = [panel.name for chart in figures(sections) for panel in chart.panels]
    assert len(set(names)) == len(names) and len(set(panels)) == len(panels)
    assert all(re.fullmatch(r"[\w.-]+", name) for name in (*names, *panels)), "they are names of files"


def test_shows_what_the_judge_says_and_what_it_is_worth(page, comparison):
    is_judged = comparison.judged is not None
    for text in ("What a judge says", "62.5<small>[55.0, 70.0]</small>", "if the longer answer won", "It favours the first answer."):
        assert (text in page) == is_judged
    if is_judged:
        assert page.count("if the longer answer won") == 6 and ">10.0</td>" in page and "78 answers, 16.25 USD" in page
        assert "it changed under way" not in page and "m &lt;b&gt;1" in page


def test_without_human_pairs_the_audit_speaks_of_the_arms(comparison, params):
    if comparison.judged:
        changed = replace(comparison, judged=replace(comparison.judged, human={}))
        page = undrawn_page_of(changed, params)
        assert "DPO base, seed 0: It favours the first answer." in page and "Human pairs" not in page


def test_a_judge_that_changed_under_way_is_named(comparison, params):
    if comparison.judged:
        human = {"pairs_test": comparison.judged.human["pairs_test"] | {"served_models": ["m-2"]}}
        changed = replace(comparison, judged=replace(comparison.judged, human=human))
        assert "served as m-1, m-2: it changed under way" in undrawn_page_of(changed, params)


def test_shows_the_numbers_with_intervals_and_verdicts(page):
    assert "+1.00" in page and "[+0.50, +1.50]" in page and "adversarial better" in page and "undecided" in page


def test_shows_as_many_prompts_of_both_kinds_as_params_say(comparison, params):
    page = undrawn_page_of(comparison, params.model_copy(update={"compare": params.compare.model_copy(update={"num_shown_prompts": 4})}))
    assert (page.count('class="subset kind-0">helpful<'), page.count('class="subset kind-1">harmless<')) == (2, 2)


def test_every_metric_is_explained(page, comparison):
    assert all(f"<dt>{metric.title}</dt>" in page and metric.meaning for metric in comparison.metrics)


def test_every_panel_shows_arms(comparison):
    for chart in charts(comparison):
        assert chart.panels
        assert all(any(colour.lower() in panel.svg.decode() for colour in COLOURS) for panel in chart.panels), chart.title


def test_gold_is_nowhere_where_it_is_unknown_and_the_page_says_so(page, comparison):
    words = re.findall(r"\bgold\b", page, flags=re.IGNORECASE)
    assert (bool(words), page.count(GOLD_UNKNOWN)) == ((True, 0) if comparison.has_gold else (False, 1))
    titles = {REWARD_MODEL_METRICS[name].title for name in NEEDS_GOLD.intersection(REWARD_MODEL_METRICS)}
    assert all((title in page) == comparison.has_gold for title in titles)
    assert "RM_all <b>2.00</b>" in page and ("gold <b>−1.00</b> · " in page) == comparison.has_gold
    costs = [title for title in ("Gold", "RM_all") if f"{title} against the divergence from SFT" in page]
    assert costs == (["Gold"] if comparison.has_gold else ["RM_all"])


def test_the_words_are_those_of_the_data(page, comparison):
    embedded = ("3 harmless questions and 3 harmful requests", "embedded corpus", "A near-best response to a prompt")
    hh = ("3 requests for help and 3 red-team dialogues", "The response to a prompt that its human pair prefers")
    mine, others = (embedded, hh) if comparison.has_gold else (hh, embedded)
    assert all(text in page for text in mine) and not any(text in page for text in others)


def test_a_policy_that_always_says_the_same_is_drawn(comparison, params):
    """All prompts score alike: rounding may then put the mean a hair outside its interval."""
    always = {metric.name: Estimate(0.3, 0.3 + 2e-16, 0.3 + 2e-16, 0.0) for metric in comparison.metrics}
    sft = replace(comparison.policies["sft"], rounds={"r0": always}, path={"r0": always})
    changed = replace(comparison, policies=comparison.policies | {"sft": sft})
    assert undrawn_page_of(changed, params)
    draw(changed, params.compare)


def test_a_run_without_harmful_prompts_or_retrained_reward_models_has_a_page_too(comparison, params):
    helpful = [metric for metric in comparison.metrics if metric.subset != "harmless"]
    changed = replace(comparison, metrics=helpful, num_prompts={"helpful": 3}, differences={}, game=replace(comparison.game, frontier={}))
    page = undrawn_page_of(changed, params)
    draw(changed, params.compare)
    assert "Complies with harmful" not in page and "minus the fixed one" not in page and "of both kinds" not in page


def text_of(page):
    """What a reader reads, as one line."""
    return html.unescape(" ".join(re.sub(r"<[^>]+>", "", page).split()))


def test_header_says_what_is_compared_and_how_often_it_was_done(page, comparison, replicated, params):
    head, more = (text_of(found.split("<main>")[0]) for found in (page, undrawn_page_of(replicated, params)))
    labels = "human labels, " if comparison.has_gold else ""
    assert f"All is done once: with other {labels}SFT, reward models and samples it may come out another way" in head
    assert "Replicates1: seeds 0" in head and "controls" not in head
    assert (
        f"All is done 5 times (replicates), with {labels}SFT, reward models and samples made anew; base model, corpus and prompts" in more
    )
    assert "Replicates5: seeds 0, 1, 2, 3, 4" in more
    assert "the policy’s own (adversarial); beside them stand controls (no_adversarial" in more
    assert ("human labels" in head + more) == comparison.has_gold, "those of records are not drawn"


def test_intervals_are_over_replicates_where_there_are_several_and_else_over_prompts(page, comparison, replicated, params):
    several = undrawn_page_of(replicated, params)
    for found, averaged, over in ((page, "6 test prompts", "prompts"), (several, "6 test prompts and 5 replicates", "replicates")):
        assert f"Means over {averaged} with 95% intervals over {over};" in text_of(found)
        assert f"same method, replicates and prompts, with 95% intervals over {over}." in text_of(found)
    assert "of one replicate, with 95%" in text_of(page) and "the mean over replicates, with 95%" in text_of(several)


def test_every_policy_and_reward_model_of_the_table_is_explained(replicated, params):
    page = undrawn_page_of(replicated, params)
    references = [policy_title(policy) for policy in replicated.references]
    for word in (*references, *replicated.run.reward_models, "Replicate", "Interval", "Verdict"):
        assert f"<dt>{word}</dt>" in page, word
    assert ("<dt>oracle</dt>" in page) == replicated.has_gold


def test_controls_are_judged_against_base_and_gold_has_no_accuracy_on_pairs(replicated, params):
    page = undrawn_page_of(replicated, params)
    cards = re.findall(r"<li><h3>(.*?)</h3>(.*?)</li>", page, flags=re.DOTALL)
    said = {title: set(re.findall(r'<p class="(\w+)">', card)) for title, card in cards}
    assert said["RJS no_adversarial − base"] == {"worse"} and said["RJS adversarial − base"] == {"better"}
    assert len(said) == (6 if replicated.has_gold else 4)
    if replicated.has_gold:
        assert said["DPO oracle − base"] == {"better"}
        first = re.findall(r'<span class="what">(.*?)</span>', dict(cards)["RJS oracle − base"])[0]
        assert first == "Gold", "the primary outcome comes first"
        [table] = [table for table in tables(contents(replicated, params.compare)) if table.name == "reward-models"]
        [row] = [[cell.text for cell in row.cells] for row in table.rows if row.cells[0].text == "RJS oracle" and row.cells[1].text == "r1"]
        assert row.count("") == len(REWARD_MODEL_METRICS) - 1


def test_doses_of_the_game_are_drawn_where_there_are_three(comparison, params):
    """Three reward models in the place of two, called by their alpha; every panel tells what it shows."""
    arms = {
        f"{m}-stronger": replace(comparison.policies[f"{m}-adversarial"], name=f"{m}-stronger", reward_model="stronger")
        for m in ("rjs", "dpo")
    }
    models = comparison.reward_models | dict.fromkeys(arms, comparison.reward_models["rjs-base"])
    doses = {"base": 0.0, "adversarial": 0.1, "stronger": 3.0}
    changed = replace(comparison, policies=comparison.policies | arms, reward_models=models, doses=doses)
    [drawn] = [chart for chart in charts(changed) if chart.title == "How much of the game"]
    assert len(drawn.panels) == (4 if comparison.has_gold else 3)
    told = [panel.description for panel in drawn.panels]
    assert all("by alpha 0, 0.1, 3." in text and "RJS: " in text and "DPO: " in text for text in told)
    assert "How much of the game" not in [chart.title for chart in charts(replace(changed, doses={"base": 0.0, "adversarial": 0.1}))]


def test_curves_of_reward_models_have_bands_over_replicates(comparison):
    """An ECE of 0.4 in one replicate and 0.6 in the other: 0.5 ± 12.706 standard errors of 0.1. One replicate alone has no band."""
    arm = replace(comparison.policies["rjs-adversarial"], members=("rjs-adversarial-s0", "rjs-adversarial-s1"))
    ece = {name: {"r1": {"ece": value}, "r2": {"ece": value}} for name, value in zip(arm.members, (0.4, 0.6), strict=True)}
    changed = replace(
        comparison,
        policies=comparison.policies | {arm.name: arm},
        reward_models=comparison.reward_models | {arm.name: ece[arm.members[0]]} | ece,
    )
    [panel] = [panel for chart in charts(changed) for panel in chart.panels if panel.name == "reward-model-ece"]
    axes = Figure().add_subplot()
    panel.onto(axes)
    ends = [end for band in axes.collections for path in band.get_paths() for end in path.vertices[:, 1]]
    assert (min(ends), max(ends)) == pytest.approx((0.5 - 1.2706, 0.5 + 1.2706), abs=1e-3)
    assert math.isnan(measured(comparison, comparison.policies["rjs-adversarial"], "ece")["r1"].low)
