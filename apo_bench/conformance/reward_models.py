"""The conformance kit of reward models: what must hold of what any of them trains on and of its losses, on made-up records and rewards.

`apo-bench check-reward-model` runs it on a section of params.yaml.

Shape suffixes: P pairs, N sequences, T tokens, H hidden.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

import apo_bench
from apo_bench.conformance import Finding, fault_of
from apo_bench.conformance.samples import close
from apo_bench.data.batching import TokenBatch
from apo_bench.models.reward_model import rewards
from apo_bench.models.ways import KNOWN, Ways
from apo_bench.reward_models.player import (
    FURTHER,
    GOLDEN,
    HUMAN,
    LABELS,
    LOG_RATIOS,
    SAMPLES,
    SFT_SAMPLES,
    Lessons,
    Material,
    RewardModelPlayer,
    Rows,
    Source,
)

PAGES = Path(apo_bench.__file__).parents[1] / "docs" / "reward_models"
PARTS = {
    "the formula, `L = ...`": r"`[^`]*\bL = [^`]+`",
    "what it trains on, **Trains on**": r"\*\*Trains on\*\*: \w",
    "the source, **Source**": r"\*\*Source\*\*: \w",
    "the departures from it, **Departures**": r"\*\*Departures\*\*: \w",
    "its settings, **Settings**": r"\*\*Settings\*\*: \S",
}
NUM_HUMAN, NUM_PROMPTS, NUM_SAMPLES = 400, 160, 4
"""As many as leave room for the labels of any section: the game has as many sequences as 400 pairs."""
NUM_GAME_PAIRS = NUM_PROMPTS * (NUM_SAMPLES + 1) // 2
PAIRS = 6
"""Pairs of a step whose rewards are made up."""
FAR = 500.0
"""A margin at which exp overflows."""


@dataclass
class World:
    """What a round would offer, each text once, and what was asked of it."""

    asked: list[Source] = field(default_factory=list)
    labelled: Rows = field(default_factory=list)

    def material(self) -> Material:
        rows: dict[Source, Rows] = {
            HUMAN: _pairs("human", NUM_HUMAN),
            FURTHER: _pairs("further", NUM_GAME_PAIRS),
            GOLDEN: [_prompt("game", n) | {"response": f"golden {n}"} for n in range(NUM_PROMPTS)],
            SAMPLES: _samples("sample"),
            SFT_SAMPLES: _samples("first"),
        }

        def reader(source: Source) -> Callable[[], Rows]:
            def read() -> Rows:
                self.asked.append(source)
                return rows[source]

            return read

        def annotate(pairs: Rows) -> Rows:
            self.asked.append(LABELS)
            turned = [
                {"chosen": row["rejected"], "rejected": row["chosen"], "finished": row.get("finished", [True] * 2)[::-1]} for row in pairs
            ]
            self.labelled = [row | other if number % 2 else row for number, (row, other) in enumerate(zip(pairs, turned, strict=True))]
            return self.labelled

        def log_ratios(pairs: Rows) -> list[float]:
            self.asked.append(LOG_RATIOS)
            return [float(number) for number in range(len(pairs))]

        return Material({source: reader(source) for source in rows}, NUM_HUMAN, NUM_GAME_PAIRS, 0, annotate, log_ratios)


def check_sources(player: RewardModelPlayer) -> str | None:
    """It trains on all that it says and on nothing else: no text of the policy where it claims none, no prompt that was not offered."""
    world, lessons = _lessons(player)
    if unused := [source for source in player.trains_on if source not in world.asked]:
        return f"trains_on names {', '.join(unused)}, which lessons does not ask for"
    offered = World().material().only(player.trains_on)
    known = {text for read in offered.rows.values() for row in read() for text in _texts(row)}
    used = {text for row in (*lessons.pairs, *lessons.groups) for text in _texts(row)}
    if strange := sorted(used - known):
        return f"trains on {strange[0]!r}, which is in nothing that it trains on by its trains_on ({', '.join(player.trains_on)})"
    return None if used else "lessons are empty: nothing is trained on"


def check_labels(player: RewardModelPlayer) -> str | None:
    """What it has labelled is as much as it says, and is trained on as the annotator ordered it, once."""
    world, lessons = _lessons(player)
    if len(world.labelled) != player.num_labels:
        return f"{len(world.labelled)} pairs are labelled, num_labels says {player.num_labels}: labels are what is counted as its price"
    trained = [(row["dialogue"], row["chosen"], row["rejected"]) for row in lessons.pairs]
    for row in world.labelled:
        times = trained.count((row["dialogue"], row["chosen"], row["rejected"]))
        if times != 1:
            return f"a pair that was labelled is trained on {times} times as the annotator ordered it, expected once"
    return None


def check_compute(player: RewardModelPlayer) -> str | None:
    """If it claims to train as long as APO's it has as many sequences in a step's worth of pairs, and all human pairs among them."""
    if not player.trains_as_long:
        return None
    lessons = _lessons(player)[1]
    found = 2 * len(lessons.pairs) + sum(len(row["responses"]) for row in lessons.groups)
    expected = 2 * (NUM_HUMAN + NUM_GAME_PAIRS)
    if found != expected:
        return f"trains_as_long, and an epoch has {found} sequences where APO's has {expected}: fill up with `repeated`, or do not claim it"
    return None


def check_weights(player: RewardModelPlayer) -> str | None:
    """Weights of pairs are one a pair, not negative, 1 in the mean, and higher where the policy finds the pair likelier."""
    world, lessons = _lessons(player)
    if not lessons.weights:
        return "log_ratios are asked for, and no weights follow" if LOG_RATIOS in world.asked else None
    if len(lessons.weights) != len(lessons.pairs):
        return f"{len(lessons.weights)} weights for {len(lessons.pairs)} pairs"
    mean = sum(lessons.weights) / len(lessons.weights)
    if min(lessons.weights) < 0 or abs(mean - 1) > 1e-6:
        return f"weights are {min(lessons.weights):.4g} and more, {mean:.4g} in the mean; expected none below 0, and 1 (`mean_one`)"
    first = lessons.weights[:NUM_HUMAN]  # the made-up ratios rise from pair to pair
    if LOG_RATIOS in world.asked and not first[-1] > first[0]:
        return "pairs that the policy finds likelier weigh less: are the weights upside down?"
    return None


def check_gradient(player: RewardModelPlayer) -> str | None:
    """A step raises what is preferred and lowers what is not, whatever their rewards are."""
    for name, loss in _losses(player).items():
        chosen_P, rejected_P = _made_up()
        loss(chosen_P, rejected_P).backward()
        rise_P, fall_P = cast(Tensor, chosen_P.grad), cast(Tensor, rejected_P.grad)
        if not (rise_P < 0).all() or not (fall_P > 0).all():
            return f"{name}: a step does not raise every preferred response and lower every other one; is the sign flipped?"
    return None


def check_order(player: RewardModelPlayer) -> str | None:
    """The order of the pairs changes nothing, nor does a number that is added to all rewards."""
    places = [3, 0, 5, 1, 4, 2]
    for name, loss in _losses(player).items():
        chosen_P, rejected_P = _made_up()
        value = loss(chosen_P, rejected_P)
        if not close(loss(chosen_P[places], rejected_P[places], places), value):
            return f"{name}: the order of the pairs changes the loss"
        if not close(loss(chosen_P + 7, rejected_P + 7), value):
            return f"{name}: 7 more for every response changes the loss; only differences of rewards mean something"
    return None


def check_ties(player: RewardModelPlayer) -> str | None:
    """Where rewards are equal the loss is finite and parts them, by as much up as down."""
    for name, loss in _losses(player).items():
        chosen_P, rejected_P = (torch.ones(PAIRS, dtype=torch.float64, requires_grad=True) for _ in range(2))
        value = loss(chosen_P, rejected_P)
        value.backward()
        assert chosen_P.grad is not None and rejected_P.grad is not None
        if not torch.isfinite(value) or not (chosen_P.grad < 0).all() or not close(-chosen_P.grad, rejected_P.grad):
            return f"{name}: equal rewards are not parted, by as much up as down"
    return None


def check_extremes(player: RewardModelPlayer) -> str | None:
    """Rewards far apart, either way round, leave loss and gradient finite."""
    for name, loss in _losses(player).items():
        for sign in (1, -1):
            chosen_P = torch.full((PAIRS,), sign * FAR, requires_grad=True)
            value = loss(chosen_P, -chosen_P.detach())
            value.backward()
            if not torch.isfinite(value) or not torch.isfinite(cast(Tensor, chosen_P.grad)).all():
                return f"{name}: not finite where rewards are {2 * FAR:g} apart: take logsigmoid, not the log of a sigmoid"
    return None


def check_accumulation(player: RewardModelPlayer) -> str | None:
    """A batch in halves gives the mean of the halves, so that micro-batches and ranks train the same."""
    for name, loss in _losses(player).items():
        chosen_P, rejected_P = _made_up()
        halves = [list(range(PAIRS // 2)), list(range(PAIRS // 2, PAIRS))]
        parts = [loss(chosen_P[half], rejected_P[half], half) for half in halves]
        if not close((parts[0] + parts[1]) / 2, loss(chosen_P, rejected_P)):
            return f"{name}: the mean over two halves of a batch is not the loss of the batch; do pairs of a batch mix?"
    return None


def check_padding(player: RewardModelPlayer) -> str | None:
    """By the function that training reads rewards with: what stands after a response changes no loss and gets no gradient."""
    generator = torch.Generator().manual_seed(0)
    num, longest, hidden = 2 * PAIRS, 9, 5
    lengths_N = torch.tensor([longest - row % 3 for row in range(num)])
    starts_N = torch.arange(num) * longest
    batch = TokenBatch(torch.zeros(num, longest, dtype=torch.long), torch.full((num,), 3), lengths_N, starts_N, starts_N + 3)
    states_NTH = torch.randn(num, longest, hidden, generator=generator)
    after_NT = torch.arange(longest) >= lengths_N[:, None]
    for name, loss in _losses(player).items():
        values = []
        for noise in (0.0, 5.0):
            leaves_NTH = (states_NTH + noise * after_NT[..., None]).requires_grad_()
            rewards_P2 = rewards(cast(PreTrainedModel, _Table(leaves_NTH)), batch).view(-1, 2)
            values.append(loss(rewards_P2[:, 0], rewards_P2[:, 1]))
            values[-1].backward()
            if cast(Tensor, leaves_NTH.grad)[after_NT].any():
                return f"{name}: padding gets a gradient"
        if not close(*(value.detach() for value in values)):
            return f"{name}: padding changes the loss"
    return None


def check_settings(player: RewardModelPlayer) -> str | None:
    """Unknown keys, text, infinity and numbers out of any range are refused; what was accepted cannot be changed."""
    kind, values = type(player.settings), player.settings.model_dump()

    def accepts(name: str, value: object) -> bool:
        try:
            kind(**{**values, name: value})
        except ValidationError:
            return False
        return True

    if accepts("no_such_key", 1):
        return f"{kind.__name__} accepts an unknown key: derive it from apo_bench.core.sections.RewardTraining"
    for name, value in values.items():
        if isinstance(value, bool | str) or not isinstance(value, int | float):
            continue
        if accepts(name, "1") or accepts(name, float("nan")):
            return f"{name} accepts text or nan: derive {kind.__name__} from apo_bench.core.sections.RewardTraining"
        if all(accepts(name, type(value)(extreme)) for extreme in (-1e9, 1e9)):
            return f"{name} accepts any number: give it a range, Annotated[float, Field(gt=0)]"
    return None


def check_page(player: RewardModelPlayer) -> str | None:
    """Its page has formula, what it trains on, source, departures and every setting of its own."""
    page = PAGES / f"{type(player).__module__.rpartition('.')[2]}.md"
    if not page.is_file():
        return f"{page.name}: no such page; expected in docs/reward_models"
    text = page.read_text(encoding="utf-8")
    missing = [what for what, pattern in PARTS.items() if not re.search(pattern, text)]
    own = set(type(player.settings).model_fields) - set(RewardModelPlayer.Settings.model_fields)
    missing += [f"the setting `{name}`" for name in sorted(own) if f"`{name}`" not in text]
    return f"{page.name} lacks {'; '.join(missing)}" if missing else None


CHECKS: dict[str, Callable[[RewardModelPlayer], str | None]] = {
    "sources": check_sources,
    "labels": check_labels,
    "compute": check_compute,
    "weights": check_weights,
    "gradient": check_gradient,
    "order": check_order,
    "ties": check_ties,
    "padding": check_padding,
    "accumulation": check_accumulation,
    "extremes": check_extremes,
    "settings": check_settings,
    "page": check_page,
}
"""In the order in which they are shown."""


def examine(player: RewardModelPlayer) -> list[Finding]:
    """Runs all checks on a reward model."""
    return [Finding(name, fault_of(check, player)) for name, check in CHECKS.items()]


Loss = Callable[..., Tensor]
"""Of rewards [P] of the preferred and of the other responses, and of which pairs they are if not of all in their order."""


class _Table(nn.Module):
    """A "reward model" whose final states are leaves."""

    def __init__(self, states_NTH: Tensor) -> None:
        super().__init__()
        self.states_NTH, self.device = states_NTH, torch.device("cpu")
        self.score = nn.Linear(states_NTH.shape[-1], 1, bias=False)
        nn.init.ones_(self.score.weight)
        self.config = PreTrainedConfig.from_dict({"vocab_size": 2})
        vars(self)[KNOWN] = Ways(head_apart=True, shared_prompts=False, batches=True)

    def base_model(self, input_ids: Tensor, use_cache: bool) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=self.states_NTH)


def _losses(player: RewardModelPlayer) -> dict[str, Loss]:
    """The losses that it trains by, those of terms without weight left out; pairs weigh what six of its own do, if they weigh anything."""
    lessons = _lessons(player)[1]
    weights_P = torch.tensor(lessons.weights[:: max(1, len(lessons.weights) // PAIRS)][:PAIRS], dtype=torch.float64)

    def human(chosen_P: Tensor, rejected_P: Tensor, which: list[int] | None = None) -> Tensor:
        return player.human_loss(chosen_P, rejected_P, weights_P[which or list(range(PAIRS))] if len(weights_P) else None)

    def game(golden_P: Tensor, sampled_P: Tensor, which: list[int] | None = None) -> Tensor:
        return player.game_loss(golden_P, sampled_P)

    terms = {"human_loss": (human, player.human_weight), "game_loss": (game, player.game_weight)}
    return {name: loss for name, (loss, weight) in terms.items() if weight}


def _lessons(player: RewardModelPlayer) -> tuple[World, Lessons]:
    world = World()
    return world, player.lessons(world.material().only(player.trains_on))


def _made_up() -> tuple[Tensor, Tensor]:
    """Rewards of preferred and other responses, some the wrong way round: [P] each."""
    generator = torch.Generator().manual_seed(0)
    chosen_P, rejected_P = (torch.randn(PAIRS, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2))
    return chosen_P, rejected_P


def _prompt(name: str, number: int) -> dict[str, str]:
    return {"id": f"{name} {number}", "subset": "helpful", "dialogue": f"\n\nHuman: {name} {number}?\n\nAssistant:"}


def _pairs(name: str, number: int) -> Rows:
    return [_prompt(name, n) | {"chosen": f"{name} {n} good", "rejected": f"{name} {n} bad", "probability": 0.75} for n in range(number)]


def _samples(name: str) -> Rows:
    answers = [[f"{name} {n} {k}" for k in range(NUM_SAMPLES)] for n in range(NUM_PROMPTS)]
    return [_prompt("game", n) | {"responses": texts, "finished": [True] * NUM_SAMPLES} for n, texts in enumerate(answers)]


def _texts(row: dict[str, object]) -> list[str]:
    """All texts of a record, of whatever kind."""
    single = [row[key] for key in ("dialogue", "chosen", "rejected", "response") if key in row]
    return [*map(str, single), *map(str, cast(list[str], row.get("responses", [])))]
