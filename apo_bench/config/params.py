"""params.yaml as one typed, strict, frozen object. The only place that reads it.

A key that is unknown, missing, mistyped or out of range is an error that names the key and, for a misspelt one, the near names.
"""

import re
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field, SerializeAsAny
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from apo_bench.config.compute_sections import Compute, Engines
from apo_bench.config.data_sections import Data
from apo_bench.config.judge_sections import GoldJudge, Judge
from apo_bench.config.plugins import (
    SAMPLERS,
    SOURCES,
    is_retrained,
    load_method,
    load_reward_model_player,
    modules,
    sampler_class,
    source_class,
)
from apo_bench.config.sections import (
    Claims,
    Compare,
    Evaluate,
    GameLedger,
    ModelFolder,
    Name,
    OwnRewardModels,
    PretrainedModel,
    References,
    RewardTraining,
    Run,
    SamplingSettings,
    ScratchModel,
    Section,
    SupervisedFineTuning,
)
from apo_bench.config.validation import near, validated
from apo_bench.core.errors import ConfigError
from apo_bench.core.layout import BASE, NO_ADVERSARIAL, OWN, TEST_REWARD_MODEL, is_trained_once

BRACKET = re.compile(r"[\[\]{}]|(?:- ){64,}")
"""What opens or closes a list or mapping, or a list in a list in a list."""
MAX_DEPTH = 64
AUTO, IN_PROCESS = "auto", "in_process"
PARAMS = Path("params.yaml")
"""Stages run in the folder of their profile, where its params.yaml is."""


def _source(section: Any) -> Any:
    """The section `prepare` as an instance of the class of its source."""
    if not isinstance(section, dict):
        return section
    if "source" not in section:
        raise ConfigError(f"prepare.source: missing key; known: {', '.join(modules(SOURCES))}")
    return validated(source_class(section["source"]), section, "prepare")


def _engines(section: Any) -> Any:
    """The section `engines` with each sampling engine as an instance of its class; those without settings need no key."""
    if not isinstance(section, dict) or not isinstance(section.get("samplers"), dict):
        return section
    asked, given = section.get("sampling"), section["samplers"]
    known = modules(SAMPLERS)
    for name, where in ((asked, "sampling"), *((name, "samplers") for name in given)):
        if name not in (known if where == "samplers" else [AUTO, *known]):
            expected = f"expected a file of samplers/, one of {', '.join(known)}{'' if where == 'samplers' else ', or auto'}"
            raise ConfigError(f"engines.{where}: found {name!r}, {expected};{near(str(name), known)}".rstrip(";"))
    classes = {name: sampler_class(name) for name in {IN_PROCESS, *given, *({asked} - {AUTO})}}
    made = {name: validated(kind, given.get(name, {}), f"engines.samplers.{name}") for name, kind in classes.items()}
    return section | {"samplers": {name: made[name] for name in [*given, *sorted(made.keys() - given.keys())]}}


class Params(Section):
    """The whole of params.yaml."""

    profile: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
    """The name of its folder."""
    root: str
    compute: Compute
    engines: Annotated[Engines, BeforeValidator(_engines)]
    run: Run
    prepare: Annotated[SerializeAsAny[Data], BeforeValidator(_source)]
    base_model: Annotated[ScratchModel | PretrainedModel, Field(discriminator="source")]
    sft: SupervisedFineTuning
    reward: dict[Name, dict[str, Any]]
    sampling: SamplingSettings
    methods: dict[Name, dict[str, Any]]
    references: References
    evaluate: Evaluate
    game: GameLedger
    judge: Judge
    compare: Compare
    claims: Claims

    @property
    def has_gold(self) -> bool:
        """Whether the true reward is known."""
        return source_class(self.prepare.source).has_gold

    @property
    def is_pretrained(self) -> bool:
        """Whether the base model is one."""
        return self.base_model.source == "pretrained"

    @property
    def base_reward(self) -> RewardTraining:
        """The section of RM_base."""
        return _section(RewardTraining, self.reward, f"reward.{BASE}", BASE)

    def reward_model(self, name: str) -> Any:
        """The reward model `name` with its settings: an instance of `apo_bench.reward_models.player.RewardModelPlayer`."""
        return load_reward_model_player(name, self.reward)

    @property
    def trained_sections(self) -> list[str]:
        """The sections of `reward` but that of reward models of one's own."""
        return [name for name in self.reward if name != OWN]

    @property
    def own_reward_models(self) -> dict[str, ModelFolder]:
        """Reward models of one's own by name, which score the test responses of all policies."""
        found = validated(OwnRewardModels, {OWN: self.reward[OWN]} if OWN in self.reward else {}, "reward")
        return dict(cast(OwnRewardModels, found).own)

    def heads(self, settings: RewardTraining) -> tuple[str, ...]:
        """The subsets that a reward model with these settings has a head for; none: it has one for all."""
        return tuple(self.prepare.kinds) if settings.head_per_subset else ()

    @property
    def num_game_pairs(self) -> int:
        """Pairs with as many sequences as the game's reward models get beside the pairs of the RM half."""
        return self.prepare.num_game_prompts * (self.sampling.train.num_samples + 1) // 2

    def method(self, name: str) -> Any:
        """The method `name` with its hyperparameters: an instance of `apo_bench.methods.base.Method`."""
        return load_method(name, self.methods)


def load_params(path: Path) -> Params:
    """Reads and checks params.yaml, the sections of all methods and reward models included, also of those that the run leaves out.

    Raises:
        ConfigError: naming the file and the key, what was found, and what was expected.
    """
    params = read_params(path)
    try:
        _check_rewards(params)
        _check_heads(params)
        _check_judge(params)
        _check_compute(params)
        for name in params.run.methods:
            _check_against_run(params, name, params.method(name))
        for name in params.methods:
            params.method(name)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error.__cause__
    return params


def _check_depth(text: str, path: Path) -> None:
    """Brackets in brackets without end would end YAML's reader, and Python with it."""
    depth = 0
    for sign in BRACKET.findall(text):
        depth = max(0, depth + (1 if sign in "[{" else -1))
        if depth > MAX_DEPTH or len(sign) > 1:
            raise ConfigError(f"{path}: lists or mappings nested more than {MAX_DEPTH} deep; expected a few")


def read_params(path: Path) -> Params:
    """As `load_params`, but takes the sections of methods and reward models as they are.

    Raises:
        ConfigError: naming the file and the key, what was found, and what was expected.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        _check_depth(text, path)
        raw = YAML(typ="safe").load(text)  # as DVC reads it, YAML 1.2: what it hashes is what runs
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; run from the folder of a profile") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8") from error
    except MarkedYAMLError as error:
        place = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}: not YAML: {error.problem}{place}") from error
    except YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except (ValueError, RecursionError) as error:  # a whole number of thousands of digits, a date that is none, lists in lists in lists
        raise ConfigError(f"{path}: a value that cannot be read ({' '.join(str(error).split())[:80]}); expected plain values") from error
    try:
        if not isinstance(raw, dict):
            found = "nothing" if raw is None else f"a {type(raw).__name__}"
            raise ConfigError(f"found {found}, expected a mapping of the sections {', '.join(Params.model_fields)}")
        return cast(Params, validated(Params, raw, ""))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error.__cause__


def _check_rewards(params: Params) -> None:
    run = params.run
    if TEST_REWARD_MODEL not in params.reward:
        raise ConfigError(f"reward.{TEST_REWARD_MODEL}: no such section; found: {', '.join(params.reward)}")
    players = {name: params.reward_model(name) for name in [*params.trained_sections, *_trained(run)]}
    for name in run.fixed_reward_models:
        if not is_trained_once(name):
            raise ConfigError(f"run: {name} is a reward model that is trained in each round; name it in retrained_reward_models")
        if is_retrained(players[name]):
            raise ConfigError(f"reward.{name}: found a reward model that learns from the policy, expected one that is trained once")
    for name in run.retrained_reward_models:
        if is_trained_once(name):
            raise ConfigError(f"run: {name} is a reward model that is trained once a replicate; name it in fixed_reward_models")
        if players[name].ensemble:
            raise ConfigError(f"run: {name} is an ensemble, which is trained once a replicate; call it ensemble_{name}")
        if "further" in players[name].trains_on:
            raise ConfigError(f"reward.{name}: it trains on further human pairs, which {NO_ADVERSARIAL} alone is given; take others")
    for name, player in players.items():
        if name in run.fixed_reward_models and "further" in player.trains_on:
            _check_further(params, name)
        _check_labels(params, name, player)
    _check_own_rewards(params)
    if run.gold_reward_models and not params.has_gold:
        raise ConfigError(f"run.gold_reward_models: {run.gold_reward_models}, expected [] where gold is unknown (prepare.source)")


def _trained(run: Run) -> list[str]:
    return [*run.fixed_reward_models, *run.retrained_reward_models]


def _check_further(params: Params, name: str) -> None:
    if params.prepare.num_further_pairs < params.num_game_pairs:
        raise ConfigError(
            f"prepare.num_further_pairs: {params.prepare.num_further_pairs}, expected {params.num_game_pairs} or more, with as many "
            f"sequences as {params.prepare.num_game_prompts} prompts of the game have: {name} is trained on them in their place"
        )


def _check_labels(params: Params, name: str, player: Any) -> None:
    if "labels" not in player.trains_on:
        return
    if not params.has_gold:
        raise ConfigError(
            f"reward.{name}: new labels are drawn from gold, by the annotator of the human pairs, and prepare.source is "
            f"{params.prepare.source}, whose annotators cannot be asked again; leave {name} out"
        )
    if player.num_labels > params.num_game_pairs:
        raise ConfigError(
            f"reward.{name}: found {player.num_labels} labels a round, expected at most {params.num_game_pairs}: more would train "
            "longer than the game's reward models do"
        )


def _check_own_rewards(params: Params) -> None:
    own, run = params.own_reward_models, params.run
    others = {OWN, TEST_REWARD_MODEL, *params.reward, *run.reward_models} - {*run.own_reward_models}
    if taken := [name for name in own if name in others]:
        raise ConfigError(f"reward.{OWN}.{taken[0]}: the name is taken; give your reward model another")
    if unknown := [name for name in run.own_reward_models if name not in own]:
        raise ConfigError(
            f"run.own_reward_models: no {unknown[0]} in reward.{OWN};{near(unknown[0], own)} found: {', '.join(own) or 'none'}"
        )


def _check_heads(params: Params) -> None:
    expected = params.base_reward.head_per_subset
    for name in params.trained_sections:
        found = params.reward_model(name).settings.head_per_subset
        if found != expected:
            raise ConfigError(
                f"reward.{name}.head_per_subset: {found}, expected {expected} as in reward.base: "
                "else it would be the heads that are compared, not the games"
            )


def _check_judge(params: Params) -> None:
    for key, seeds in (("judge.seeds", params.judge.seeds), ("game.seeds", params.game.seeds)):
        if strange := [seed for seed in seeds if seed not in params.run.seeds]:
            raise ConfigError(f"{key}: no seed {strange[0]} in the run; known: {', '.join(map(str, params.run.seeds))}")
    unknown = [name for name in params.judge.rounds if name not in params.run.rounds]
    if unknown:
        raise ConfigError(f"judge.rounds: no round {unknown[0]!r} in the run; known: {', '.join(params.run.rounds)}")
    if params.judge.is_used and isinstance(params.judge.provider, GoldJudge) and not params.has_gold:
        raise ConfigError(
            f"judge.provider.source: gold is unknown where prepare.source is {params.prepare.source}; "
            "write server or vllm, or judge nothing (rounds: [], human_pairs: [])"
        )


def _check_compute(params: Params) -> None:
    if params.compute.frozen_layers and not params.is_pretrained:
        raise ConfigError(
            f"compute.frozen_layers: found {params.compute.frozen_layers}, expected 0 where base_model.source is scratch, "
            "as layers that are never trained stay random"
        )


def _check_against_run(params: Params, name: str, method: Any) -> None:
    if params.sampling.train.num_samples < method.min_responses:
        raise ConfigError(
            f"sampling.train.num_samples: {params.sampling.train.num_samples} is too few for {name}, "
            f"which compares responses to the same prompt; give at least {method.min_responses}"
        )


def _section(model: type[Section], sections: dict[str, Any], where: str, name: str) -> Any:
    if name not in sections:
        raise ConfigError(f"{where}: no such section;{near(name, sections)} found: {', '.join(sections)}")
    return validated(model, sections[name], where)
