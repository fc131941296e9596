"""The kit of reward models fails planted mistakes, and says which mistake."""

from typing import Any

import pytest
import torch

from apo_bench.config.sections import RewardTraining
from apo_bench.conformance.reward_models import CHECKS, examine
from apo_bench.models.ensemble import Ensemble
from apo_bench.reward_models import adversarial, base, ensemble, fresh, gail, ocrm
from apo_bench.reward_models.player import HUMAN, SAMPLES, Lessons, mean_one, pairs_to_label

SHARED = {"epochs": 1, "batch_size": 4, "learning_rate": 0.1, "max_length": 8, "head_per_subset": False}
FRESH, APO = {"num_labels": 40}, {"human_weight": 1.0, "adversarial_weight": 0.1}
THREE = {"num_members": 3, "combination": "mean_less_variance", "variance_weight": 0.5}


def planted(module, settings: dict[str, Any], **attributes):
    right = module.REWARD_MODEL
    return type("Planted", (right,), attributes)(right.Settings(**SHARED, **settings))


def faults(player) -> dict[str, str]:
    """Check -> what it finds wrong; the page is that of the right one."""
    return {finding.check: finding.fault for finding in examine(player) if finding.fault and finding.check != "page"}


def of_test_prompts(self, material):
    found = fresh.REWARD_MODEL.lessons(self, material)
    return Lessons([*found.pairs[:-1], found.pairs[0] | {"dialogue": "\n\nHuman: A test prompt?\n\nAssistant:"}])


def without_annotator(self, material):
    pairs = pairs_to_label(material[SAMPLES], 40, 0)
    material.labelled(pairs)
    return Lessons([*material[HUMAN], *pairs, *material[HUMAN][:360]])


def too_few(self, material):
    labelled = material.labelled(pairs_to_label(material[SAMPLES], 7, 0))
    return Lessons([*material[HUMAN], *labelled, *material[HUMAN][:393]])


def upside_down(self, material):
    found = ocrm.REWARD_MODEL.lessons(self, material)
    return Lessons(found.pairs, mean_one([1 / weight for weight in found.weights]))


class FirstAlone(Ensemble):
    """Says three, and asks one."""

    def combined(self, rewards_MN):
        return rewards_MN[0]


class Kindest(Ensemble):
    """The highest of three."""

    def combined(self, rewards_MN):
        return rewards_MN.amax(0)


class Daring(Ensemble):
    """Rewards what members differ about."""

    def combined(self, rewards_MN):
        return rewards_MN.mean(0) + rewards_MN.var(0)


class Loose(RewardTraining):
    """A number without a range."""

    num_labels: int


PLANTED = {
    "fresh that sees the test prompts": (
        planted(fresh, FRESH, lessons=of_test_prompts),
        "sources",
        "trains on '\\n\\nHuman: A test prompt?",
    ),
    "fresh that does not heed the annotator": (
        planted(fresh, FRESH, lessons=without_annotator),
        "labels",
        "0 times as the annotator ordered",
    ),
    "fresh that labels other than it says": (planted(fresh, FRESH, lessons=too_few), "labels", "7 pairs are labelled, num_labels says 40"),
    "golden responses that are not declared": (
        planted(adversarial, APO, trains_on=(HUMAN, SAMPLES)),
        "sources",
        "asks for golden, which its trains_on lacks",
    ),
    "policy text that is claimed and not used": (
        planted(base, {}, trains_on=(HUMAN, SAMPLES)),
        "sources",
        "trains_on names samples, which lessons does not ask for",
    ),
    "shorter than it claims": (planted(base, {}, trains_as_long=True), "compute", "an epoch has 800 sequences where APO's has 1600"),
    "OCRM with the weights upside down": (
        planted(ocrm, {"exponent": 0.01}, lessons=upside_down),
        "weights",
        "are the weights upside down?",
    ),
    "an ensemble of one": (planted(ensemble, THREE, ensemble=Ensemble(1, "mean")), "ensemble", "an ensemble of 1"),
    "an ensemble whose first member decides": (
        planted(ensemble, THREE, ensemble=FirstAlone(3, "mean")),
        "ensemble",
        "the order of the members",
    ),
    "an ensemble of its kindest": (planted(ensemble, THREE, ensemble=Kindest(3, "mean")), "ensemble", "is it an ensemble of fewer?"),
    "an ensemble that likes to differ": (planted(ensemble, THREE, ensemble=Daring(3, "mean")), "ensemble", "worse is rewarded as before"),
    "sides swapped": (
        planted(base, {}, human_loss=lambda self, chosen, rejected, weights: base.REWARD_MODEL.human_loss(self, rejected, chosen, weights)),
        "gradient",
        "is the sign flipped?",
    ),
    "game swapped": (
        planted(gail, {"adversarial_weight": 1.0}, game_loss=lambda self, golden, sampled: (golden - sampled).mean()),
        "gradient",
        "game_loss: ",
    ),
    "sum in the place of the mean": (
        planted(base, {}, human_loss=lambda self, chosen, rejected, weights: torch.nn.functional.softplus(rejected - chosen).sum()),
        "accumulation",
        "the mean over two halves of a batch",
    ),
    "rewards themselves": (
        planted(base, {}, human_loss=lambda self, chosen, rejected, weights: (rejected.exp() - chosen).mean()),
        "order",
        "7 more for every",
    ),
    "log of a sigmoid": (
        planted(base, {}, human_loss=lambda self, chosen, rejected, weights: -torch.sigmoid(chosen - rejected).log().mean()),
        "extremes",
        "take logsigmoid",
    ),
    "hinge without a margin": (
        planted(base, {}, human_loss=lambda self, chosen, rejected, weights: torch.relu(rejected - chosen).mean()),
        "ties",
        "are not parted",
    ),
}


@pytest.mark.parametrize(("player", "check", "said"), PLANTED.values(), ids=PLANTED)
def test_planted_mistake_is_named(player, check, said):
    assert said in faults(player)[check]


def test_the_right_ones_pass():
    for module, settings in ((fresh, FRESH), (adversarial, APO), (ocrm, {"exponent": 0.01}), (ensemble, THREE), (base, {})):
        player = module.REWARD_MODEL(module.REWARD_MODEL.Settings(**SHARED, **settings))
        assert [finding.check for finding in examine(player)] == list(CHECKS) and not faults(player)


def test_settings_without_a_range():
    player = planted(fresh, FRESH, Settings=Loose)
    player.settings = Loose(**SHARED, num_labels=40)
    assert faults(player) == {"settings": "num_labels accepts any number: give it a range, Annotated[float, Field(gt=0)]"}


def test_a_page_that_lacks_parts(monkeypatch, tmp_path):
    monkeypatch.setattr("apo_bench.conformance.reward_models.PAGES", tmp_path)
    player = fresh.REWARD_MODEL(fresh.REWARD_MODEL.Settings(**SHARED, **FRESH))
    assert CHECKS["page"](player) == "fresh.md: no such page; expected in docs/reward_models"
    (tmp_path / "fresh.md").write_text("`L = x`\n\n- **Trains on**: y\n- **Source**: z\n- **Settings**: k\n", encoding="utf-8")
    assert CHECKS["page"](player) == "fresh.md lacks the departures from it, **Departures**; the setting `num_labels`"
