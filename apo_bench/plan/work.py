"""How many tokens each stage trains on, reads and writes.

A prompt counts once for the responses that share its row, as it costs; `Sizes.has_prompts_each` counts as stages record it.
"""

from dataclasses import dataclass, fields

from transformers import PreTrainedTokenizerFast

from apo_bench.config.params import Params
from apo_bench.core.layout import TEST_REWARD_MODEL
from apo_bench.models.tokenizer import encode
from apo_bench.plan import Records
from apo_bench.reward_models.player import FURTHER, LOG_RATIOS

ASSUMED_PROMPT_TOKENS, ASSUMED_RESPONSE_TOKENS = 128, 52
"""Means of HH, at 3.9 characters a token, for a plan without the data."""


@dataclass(frozen=True)
class Work:
    """What a stage does, in tokens."""

    train_policy: float = 0
    """Prompt and response tokens that a language model is trained on."""
    train_reward: float = 0
    read_policy: float = 0
    """Tokens that a language model gives log-probabilities for."""
    read_reward: float = 0
    sample: float = 0
    """Response tokens that are sampled."""
    is_model: bool = True
    """Whether the stage loads a model at all."""

    @property
    def tokens(self) -> float:
        """All of them."""
        return sum(getattr(self, field.name) for field in fields(self) if field.name != "is_model")


@dataclass(frozen=True)
class Sizes:
    """Sequences by file: how many, and their mean tokens; a pair is two."""

    count: dict[str, int]
    prompt: dict[str, float]
    sequence: dict[str, float]
    """Prompt and response, cut to the longest allowed."""
    sampled: float
    """Tokens of a sampled response."""
    has_prompts_each: bool = False
    """Whether a prompt counts with each of its responses, as in what stages record (`apo_bench.provenance.budgets.COUNTS`)."""

    def rows(self, name: str, own: int = 0, sampled: int = 0, limit: int = 0) -> float:
        """Tokens of all rows of a file, each of a prompt, so many responses of the file, and so many that are sampled up to `limit`."""
        num_prompts = own + sampled if self.has_prompts_each else 1
        responses = own * (self.sequence[name] - self.prompt[name]) + sampled * min(self.sampled, limit)
        return self.count[name] * (num_prompts * self.prompt[name] + responses)


def measure(params: Params, records: Records, tokenizer: PreTrainedTokenizerFast, sampled: float) -> Sizes:
    """Encodes the records as the stages will."""
    count, prompt, sequence = {}, {}, {}
    for name, rows in records.items():
        responses = [[row[key] for key in ("chosen", "rejected", "response") if key in row] or [""] for row in rows]
        groups = encode(
            tokenizer, [row["dialogue"] for row in rows], responses, _max_length(params, name), params.compute.max_prompt_length
        )
        flat = [item for group in groups for item in group]
        count[name] = len(rows)
        prompt[name] = _mean([item.prompt_length for item in flat])
        sequence[name] = _mean([len(item.ids) for item in flat])
    return Sizes(count, prompt, sequence, sampled)


def assume(params: Params) -> Sizes:
    """What HH has on average, where the data or the model is not there yet."""
    data = params.prepare
    count = {
        "pairs_rm": data.num_rm_prompts,
        "pairs_lm": data.num_lm_prompts,
        "pairs_test": data.num_test_pairs,
        "prompts_test": data.num_test_prompts,
        "prompts_lm": data.num_game_prompts,
        "golden_rm": data.num_game_prompts,
        "golden_lm": data.num_game_prompts,
        "golden_test": data.num_test_prompts,
        "demonstrations": data.num_rm_prompts,
    }
    prompt = dict.fromkeys(count, float(min(ASSUMED_PROMPT_TOKENS, params.compute.max_prompt_length)))
    sequence = {name: tokens + ASSUMED_RESPONSE_TOKENS for name, tokens in prompt.items()}
    return Sizes(count, prompt, sequence, params.sampling.train.max_new_tokens / 2)


def work_of(stage: str, params: Params, sizes: Sizes) -> Work:
    """The work of a stage by its name in DVC, `align@dpo-base-0-...`."""
    group, _, item = stage.partition("@")
    kind, part = group.removesuffix("_first"), item.split("-")[0]
    num_samples, limit = params.sampling.train.num_samples, params.sampling.train.max_new_tokens
    pairs = {name: sizes.rows(name, own=2) for name in ("pairs_rm", "pairs_lm", "pairs_test")}
    golden_groups = {half: sizes.rows(f"golden_{half}", 1, num_samples, limit) for half in ("rm", "lm")}
    if kind in ("sample", "sample_golden", "sample_after_golden"):
        name = "golden_rm" if kind == "sample_golden" else "prompts_lm"
        return Work(sample=sizes.count[name] * num_samples * sizes.sampled)
    if kind in ("score", "score_fixed", "score_own", "score_after_golden"):
        return Work(read_reward=golden_groups["lm"])
    if kind == "game_base":
        return Work(read_reward=_ledger_tokens(params, sizes))
    if kind == "game":  # RM_base reads the samples of all rounds too, if gold says how they should be ordered
        samples = len(params.run.rounds) * sizes.rows("golden_lm", 0, num_samples, limit) * params.has_gold
        return Work(read_reward=(1 + len(params.run.rounds)) * _ledger_tokens(params, sizes) + samples)
    if kind in ("align", "align_after_golden"):
        method = params.method(part)
        trained = sizes.rows("prompts_lm", 0, method.num_selected(num_samples), limit)
        return Work(train_policy=trained * method.hyperparameters.epochs, read_policy=trained * method.needs_reference)
    test_limit = params.sampling.test.max_new_tokens
    if kind.startswith("respond"):
        return Work(sample=sizes.count["prompts_test"] * params.sampling.test.num_samples * min(sizes.sampled, test_limit))
    if kind == "best_of_n":
        read = sizes.rows("prompts_test", 0, num_samples, limit)
        return Work(sample=sizes.count["prompts_test"] * num_samples * min(sizes.sampled, limit), read_reward=read)
    if kind == "score_responses":
        num_policies = len(params.references.names) + len(params.run.methods) * len(params.run.reward_models) * len(params.run.rounds)
        return Work(read_reward=num_policies * sizes.rows("prompts_test", 0, 1, test_limit))
    if kind.startswith("evaluate_reward"):
        return Work(read_reward=pairs["pairs_test"] * (_num_members(params, part) if kind == "evaluate_reward_fixed" else 1))
    if kind.startswith("evaluate"):
        read = sizes.rows("prompts_test", 0, 1, test_limit)
        return Work(read_reward=read, read_policy=2 * read)
    if kind == "reward_all":
        return Work(train_reward=(pairs["pairs_rm"] + pairs["pairs_lm"]) * params.reward_model(TEST_REWARD_MODEL).settings.epochs)
    if kind == "reward":
        player, trained = params.reward_model(part), pairs["pairs_rm"]
        if FURTHER in player.trains_on:
            trained *= 1 + params.num_game_pairs / sizes.count["pairs_rm"]
        return Work(train_reward=_num_members(params, part) * trained * player.settings.epochs)
    if kind == "adversarial_reward":
        player = params.reward_model(part if group.endswith("_first") else item.split("-")[1])
        trained = (pairs["pairs_rm"] if player.human_weight else 0) + golden_groups["rm"]  # without a game other pairs are as much
        is_read = LOG_RATIOS in player.trains_on and not group.endswith("_first")  # there the policy is SFT's
        return Work(train_reward=trained * player.settings.epochs, read_policy=2 * pairs["pairs_rm"] * is_read)
    if kind == "reference":
        if part == "human":
            return Work(train_policy=pairs["pairs_rm"] * params.references.human.epochs, read_policy=pairs["pairs_rm"])
        return Work(train_policy=sizes.rows("golden_rm", own=1) * params.references.golden.epochs)
    if kind == "sft":
        return Work(train_policy=sizes.count["demonstrations"] * sizes.sequence["demonstrations"] * params.sft.epochs)
    if kind == "base_model" and params.base_model.source == "scratch":
        return Work(train_policy=sizes.count["pretraining"] * sizes.sequence["pretraining"] * params.base_model.epochs)
    return Work(is_model=kind == "base_model")


def _num_members(params: Params, reward_model: str) -> int:
    ensemble = params.reward_model(reward_model).ensemble
    return ensemble.num_members if ensemble else 1


def _ledger_tokens(params: Params, sizes: Sizes) -> float:
    """Tokens of every test prompt with its golden response and one of each policy from SFT on."""
    return sizes.rows("golden_test", 1, 1 + len(params.run.rounds), params.sampling.test.max_new_tokens)


def _max_length(params: Params, name: str) -> int:
    if name == "pretraining" and params.base_model.source == "scratch":
        return params.base_model.max_length
    return params.base_reward.max_length if name.startswith("pairs") else params.sft.max_length


def _mean(values: list[int]) -> float:
    return sum(values) / len(values)
