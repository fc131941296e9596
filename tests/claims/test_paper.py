"""The claims: which cells they compare, with which sign, and what a run lacks for them."""

import pytest

from apo_bench.claims.paper import APO, METHODS, PolicyCell, RewardCell, paper_claims
from apo_bench.config.sections import Run

KINDS = ["base", "adversarial", "wgan", "gail", "no_adversarial", "sequential", "base_after_golden"]


NAMES = [*(f"C{number}" for number in range(1, 13)), "APO", "AB", "GOLDEN"]


def run(methods=("rjs", "rrhf", "dpo"), kinds=KINDS, num_rounds=3):
    later = [{"id": f"r{number}", "previous": f"r{number - 1}"} for number in range(2, num_rounds + 1)]
    fixed = [kind for kind in kinds if kind in ("base", "no_adversarial")]
    lists = {"methods": list(methods), "reward_models": list(kinds), "fixed_reward_models": fixed, "gold_reward_models": []}
    golden = [kind for kind in kinds if kind == "base_after_golden"]
    lists |= {
        "own_reward_models": [],
        "golden_start_reward_models": golden,
        "sft_start_reward_models": [kind for kind in kinds if kind not in golden],
    }
    lists["retrained_reward_models"] = [kind for kind in kinds if kind not in (*fixed, *golden)]
    return Run.model_validate({**lists, "later_rounds": later, "seeds": [0]})


def claims(outcome="RM_all", **changes):
    return {claim.name: claim for claim in paper_claims(run(**changes), outcome)}


def test_a_full_run_tests_all():
    found = claims()
    assert list(found) == NAMES
    assert all(claim.contrasts and not claim.missing for claim in found.values())
    assert [len(claim.contrasts) for claim in found.values()] == [1, 1, 1, 2, 1, 2, 2, 1, 2, 1, 4, 2, 1, 1, 1]


@pytest.mark.parametrize("outcome", ["gold", "RM_all", "RM_all at equal length"])
def test_policies_are_judged_by_the_outcome(outcome):
    found = claims(outcome)
    about_policies = [claim.name for claim in found.values() if claim.is_about_policies]
    assert about_policies == ["C1", "C2", "C3", "C9", "C10", "C11", "C12", "APO", "AB", "GOLDEN"]
    for claim in found.values():
        for contrast in claim.contrasts:
            assert (contrast.measure == outcome) == isinstance(contrast.terms[0][1], PolicyCell)


def test_every_contrast_is_nothing_if_all_cells_are_equal():
    for claim in paper_claims(run(num_rounds=2), "gold"):
        for contrast in claim.contrasts:
            assert sum(weight for weight, _ in contrast.terms) == pytest.approx(0), contrast.words
            assert any(weight > 0 for weight, _ in contrast.terms)


def test_the_methods_against_base():
    (contrast,) = claims()["C3"].contrasts
    assert contrast.terms == ((1.0, PolicyCell("dpo", "adversarial", "r3")), (-1.0, PolicyCell("dpo", "base", "r3")))
    assert contrast.weight == 2.0


@pytest.mark.parametrize(("name", "other"), [("APO", "base"), ("AB", "no_adversarial"), ("GOLDEN", "base_after_golden")])
def test_the_effect_over_the_methods_is_the_mean_of_theirs(name, other):
    (contrast,) = claims()[name].contrasts
    weights = {(cell.method, cell.reward_model, cell.round): weight for weight, cell in contrast.terms}
    assert weights == {(method, kind, "r3"): pytest.approx(sign / 3) for method in METHODS for kind, sign in ((APO, 1), (other, -1))}
    assert contrast.weight == pytest.approx(6 / 9)


def test_the_effect_over_the_methods_is_over_those_of_the_run():
    (contrast,) = claims(methods=["dpo"])["APO"].contrasts
    assert contrast.terms == claims()["C3"].contrasts[0].terms


def test_reward_models_are_means_over_methods_and_one_in_the_first_round():
    over_base, over_rounds = claims()["C4"].contrasts
    last = [(pytest.approx(1 / 3), RewardCell(method, "adversarial", "r3")) for method in ("rjs", "rrhf", "dpo")]
    assert list(over_base.terms) == [*last, (-1, RewardCell("", "base", "r0"))]
    assert list(over_rounds.terms) == [*last, (-1, RewardCell("rjs", "adversarial", "r1"))]


def test_what_is_trained_once_a_seed_is_one_cell():
    (contrast,) = claims()["C8"].contrasts
    assert [cell.reward_model for _, cell in contrast.terms] == ["adversarial"] * 3 + ["no_adversarial"]
    assert contrast.weight == pytest.approx(1 / 3 + 1)


def test_signs_of_what_ablations_cost():
    """GAIL: accuracy below base, ECE above it. WGAN and AB: accuracy below APO's. Sequential: ECE above APO's, policies below."""
    signs = {
        (name, contrast.measure): {cell.reward_model: weight > 0 for weight, cell in contrast.terms}
        for name in ("C6", "C7", "C8", "C9")
        for contrast in claims()[name].contrasts
    }
    assert signs == {
        ("C6", "accuracy"): {"base": True, "gail": False},
        ("C6", "squared calibration error"): {"base": False, "gail": True},
        ("C7", "accuracy"): {"adversarial": True, "wgan": False},
        ("C7", "squared calibration error"): {"adversarial": False, "wgan": True},
        ("C8", "accuracy"): {"adversarial": True, "no_adversarial": False},
        ("C9", "squared calibration error"): {"adversarial": False, "sequential": True},
        ("C9", "RM_all"): {"adversarial": True, "sequential": False},
    }


def test_the_widening_gap_is_a_difference_of_differences():
    [contrast] = claims()["C10"].contrasts
    weights = {(cell.reward_model, cell.round): weight for weight, cell in contrast.terms}
    assert weights == {("adversarial", "r3"): 1, ("adversarial", "r1"): -1, ("base", "r3"): -1, ("base", "r1"): 1}


def test_the_order_of_methods_and_the_golden_reference():
    words = [contrast.words for contrast in claims()["C11"].contrasts]
    assert words == [f"{pair} with {kind}, r3" for kind in ("base", "adversarial") for pair in ("DPO over RRHF", "RRHF over RJS")]
    assert [contrast.terms[1] for contrast in claims()["C12"].contrasts] == [(-1.0, PolicyCell("golden", "", "r0"))] * 2


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        (
            {"kinds": ["base", "adversarial"]},
            {"C6": ("reward model gail",), "C8": ("reward model no_adversarial",), "AB": ("reward model no_adversarial",), "APO": ()},
        ),
        ({"methods": ["dpo"]}, {"C1": ("method rjs",), "C11": ("method rjs", "method rrhf"), "C5": ()}),
        ({"num_rounds": 1}, {"C4": ("round after r1",), "C10": ("round after r1",), "C1": ()}),
        (
            {"methods": ["kto"]},
            {"C4": ("method among rjs, rrhf, dpo",), "C12": ("method rrhf", "method dpo"), "APO": ("method among rjs, rrhf, dpo",)},
        ),
        ({"kinds": ["base"]}, {"C1": ("reward model adversarial",), "C11": ("reward model adversarial",)}),
    ],
)
def test_what_a_run_lacks_is_said(changes, missing):
    found = claims(**changes)
    for name, lacking in missing.items():
        assert found[name].missing == lacking and bool(found[name].contrasts) == (not lacking)
