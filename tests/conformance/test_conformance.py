"""The kit fails losses with planted mistakes, and says which mistake."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import pytest
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass as validated_dataclass

from apo_bench.conformance import CHECKS, examine, fault_of, tokens
from apo_bench.methods import dpo, rjs, rrhf
from apo_bench.methods.base import STRICT, Hyperparameters, ResponseGroups
from apo_bench.models import language_model

SHARED = {"learning_rates": [0.1], "epochs": 1, "batch_size": 1, "max_length": 8}
DPO = dpo.METHOD(dpo.METHOD.Hyperparameters(**SHARED, beta=0.1))
RJS = rjs.METHOD(Hyperparameters(**SHARED))
RRHF = rrhf.METHOD(Hyperparameters(**SHARED))


def faults(method) -> dict[str, str]:
    """Check -> what it finds wrong; the page is that of the right method."""
    return {finding.check: finding.fault for finding in examine(method) if finding.fault and finding.check != "page"}


def with_loss(right, loss: Callable[[ResponseGroups], torch.Tensor], **attributes):
    """A copy of a method with another loss."""
    kind = type(right)
    planted = type("Planted", (kind,), {"loss": lambda self, groups: (loss(groups), {}), **attributes})
    return planted(right.hyperparameters)


def rrhf_by_mask(keep: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[ResponseGroups], torch.Tensor]:
    """RRHF that counts the pairs of a mask [B, K, K] which `keep` lets pass."""

    def loss(groups: ResponseGroups) -> torch.Tensor:
        scores = groups.logps_BK / groups.lengths_BK
        better = keep(groups.rewards_BK[:, :, None] - groups.rewards_BK[:, None, :])
        return ((scores[:, None, :] - scores[:, :, None]).clamp(min=0) * better).sum((1, 2)) - scores[:, 0]

    return loss


def row(index: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda differences: (differences > 0) & (torch.arange(differences.shape[1])[None, :, None] == index)


def dpo_of(margins: Callable[[ResponseGroups], torch.Tensor]) -> Callable[[ResponseGroups], torch.Tensor]:
    return lambda groups: -torch.nn.functional.logsigmoid(0.1 * margins(groups))


def difference(values: torch.Tensor) -> torch.Tensor:
    return values[:, 0] - values[:, 1]


def moved_ratios(groups: ResponseGroups) -> torch.Tensor:
    return groups.logps_BK - groups.reference_logps_BK


PLANTED = {
    "RRHF of the first row of its mask": (
        with_loss(RRHF, rrhf_by_mask(row(0))),
        "gradient",
        "response 3 of 4 by reward better than response 2, and a step does not mend that",
    ),
    "RRHF of the second row": (with_loss(RRHF, rrhf_by_mask(row(1))), "gradient", "does a comparison lack some of its pairs?"),
    "RRHF of the third row": (with_loss(RRHF, rrhf_by_mask(row(2))), "gradient", "does a comparison lack some of its pairs?"),
    "RRHF that ranks ties": (with_loss(RRHF, rrhf_by_mask(lambda d: d >= 0)), "ties", "all rewards tie, and yet a response is pushed down"),
    "RRHF that ranks by place": (
        with_loss(RRHF, rrhf_by_mask(lambda d: torch.ones_like(d).triu(1))),
        "ties",
        "all rewards tie, and yet a response is pushed down",
    ),
    "DPO with the reference's sign flipped": (
        with_loss(DPO, dpo_of(lambda g: difference(g.logps_BK + g.reference_logps_BK.detach()))),
        "reference",
        "is the reference's sign flipped?",
    ),
    "DPO with chosen and rejected exchanged": (
        with_loss(DPO, dpo_of(lambda g: -difference(g.log_ratios_BK))),
        "gradient",
        "does not make the preferred response likelier",
    ),
    "DPO that trains its reference": (
        with_loss(DPO, dpo_of(lambda g: difference(moved_ratios(g)))),
        "reference",
        "a gradient into the reference",
    ),
    "DPO without a reference": (with_loss(DPO, dpo_of(lambda g: difference(g.logps_BK))), "optimum", "the optimum (reward_tilt) is"),
    "DPO with twice the beta": (
        with_loss(DPO, dpo_of(lambda g: 2 * difference(g.log_ratios_BK))),
        "optimum",
        "the optimum (reward_tilt) is",
    ),
    "DPO by log and sigmoid": (
        with_loss(DPO, lambda g: -torch.sigmoid(0.1 * difference(g.log_ratios_BK)).log()),
        "extremes",
        "is not finite with best and worst",
    ),
    "length-normalised by padded length": (
        with_loss(RJS, lambda g: -g.logps_BK[:, 0] / g.lengths_BK.max()),
        "padding",
        "by each response's own length, not by the padded one",
    ),
    "softmax over the prompts of a batch": (
        with_loss(RJS, lambda g: -(g.logps_BK / g.lengths_BK).log_softmax(0)[:, 0] - g.logps_BK[:, 0]),
        "accumulation",
        "prompts of a batch mix",
    ),
    "mean over the batch": (with_loss(RJS, lambda g: -g.logps_BK.mean()), "accumulation", "expected (5,): one a prompt"),
    "imitation of the worst": (
        with_loss(RJS, lambda g: -g.logps_BK[:, 0], select=lambda self, rewards: [rewards.index(min(rewards))]),
        "gradient",
        "not negative",
    ),
    "selection of all that are good": (
        with_loss(RRHF, rrhf_by_mask(lambda d: d > 0), select=lambda self, rewards: [i for i, r in enumerate(rewards) if r >= 0] or None),
        "selection",
        "responses of one prompt and",
    ),
    "metric in the graph": (
        type("Planted", (type(RJS),), {"loss": lambda self, g: (-g.logps_BK[:, 0], {"best": g.logps_BK[:, 0]})})(RJS.hyperparameters),
        "accumulation",
        "metric best of 5 prompts has the shape (5,), expected (5,), detached",
    ),
    "golden response preferred that is not asked for": (
        type("Planted", (type(DPO),), {"prefers_golden": True})(DPO.hyperparameters),
        "origins",
        "GOLDEN is not among its origins",
    ),
    "loss that raises": (with_loss(RJS, lambda g: g.nothing), "order", "raised AttributeError: 'ResponseGroups' object has no attribute"),
}


@pytest.mark.parametrize(("method", "check", "said"), PLANTED.values(), ids=PLANTED)
def test_planted_mistake_is_named(method, check, said):
    assert said in faults(method)[check]


@pytest.mark.parametrize("right", [DPO, RJS, RRHF], ids=["dpo", "rjs", "rrhf"])
def test_the_right_losses_pass(right):
    assert examine(right) == [type(examine(right)[0])(name, None) for name in CHECKS]


def weighted_imitation(temperature: float, **attributes):
    """Advantage-weighted regression (Peng et al. 2019) on all responses, weights exp(r / temperature) as shares of the prompt's."""

    def loss(groups: ResponseGroups) -> torch.Tensor:
        return -((groups.rewards_BK / temperature).softmax(1) * groups.logps_BK / groups.lengths_BK).sum(1)

    return with_loss(RRHF, loss, **attributes)


def test_weighted_imitation_passes_where_it_says_what_it_is():
    """It makes the worst response likelier as well: a ranking that lacks pairs looks the same, so the method has to say so."""
    assert faults(weighted_imitation(2.0, imitates_all=True)) == {}
    assert set(faults(weighted_imitation(2.0))) == {"gradient"}
    assert "a step does not mend that" in faults(weighted_imitation(-2.0, imitates_all=True))["gradient"]


def test_softmax_over_prompt_tokens(monkeypatch):
    """The functions that training uses predict every token, the prompt's too."""
    right = language_model.response_states

    def whole_sequence(model, batch):
        nothing_N = torch.zeros_like(batch.prompt_lengths_N)
        return right(model, replace(batch, prompt_lengths_N=nothing_N, response_starts_N=batch.prompt_starts_N))

    monkeypatch.setattr(language_model, "response_states", whole_sequence)
    assert faults(RJS) == {
        "tokens": "prompt tokens or padding get a gradient: take the softmax and the sum over the response's tokens only"
    }


def test_log_probabilities_of_padding(monkeypatch):
    right = tokens.response_logps

    def padded(model, batch):
        return right(model, replace(batch, lengths_N=torch.full_like(batch.lengths_N, tokens.LONGEST)))

    monkeypatch.setattr(tokens, "response_logps", padded)
    assert set(faults(DPO)) == {"tokens"}


def test_softmax_normalised_over_tokens(monkeypatch):
    """The softmax is taken over the tokens of prompt and response in the place of the vocabulary."""

    def over_tokens(model, batch):
        logits_NTV = model.base_model(batch.input_ids_RT, use_cache=False).last_hidden_state
        return logits_NTV.log_softmax(1).gather(2, batch.input_ids_RT[..., None])[:, batch.prompt_lengths_N[0] - 1 :, 0].sum(1)

    monkeypatch.setattr(tokens, "response_logps", over_tokens)
    assert "prompt tokens or padding get a gradient" in faults(RJS)["tokens"]


@validated_dataclass(frozen=True, kw_only=True, config=STRICT)
class Unbounded(Hyperparameters):
    beta: float


@dataclass(frozen=True, kw_only=True)
class Lenient(Hyperparameters):
    beta: float


@validated_dataclass(kw_only=True, config=STRICT)
class Plain:
    beta: Annotated[float, Field(gt=0)]


@pytest.mark.parametrize(
    ("hyperparameters", "said"),
    [
        (Unbounded(**SHARED, beta=0.1), "beta accepts any number: give it a range"),
        (Lenient(**SHARED, beta=0.1), "epochs accepts '1': decorate Lenient with"),
        (Plain(beta=0.1), "expected a dataclass derived from apo_bench.methods.base.Hyperparameters"),
    ],
)
def test_hyperparameters_that_are_not_validated(hyperparameters, said):
    assert said in fault_of(CHECKS["hyperparameters"], type(DPO)(hyperparameters))


def test_page_that_lacks_parts(monkeypatch, tmp_path):
    page = tmp_path / "dpo.md"
    monkeypatch.setattr("apo_bench.conformance.declarations.PAGES", tmp_path)
    assert CHECKS["page"](DPO).startswith("dpo.md: no such page")
    page.write_text("# DPO\n\n`L = x`\n\n- **Source**: arXiv 2305.18290\n- **Curves**: `reward_margin`\n", encoding="utf-8")
    said = CHECKS["page"](DPO)
    assert said == (
        "dpo.md lacks the departures from it, **Departures**; the paper's settings, **The paper's settings**; the metric `reward_accuracy`"
    )
