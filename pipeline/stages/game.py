"""The game ledger of an arm: all reward models of its game score all its policies; over-optimisation and distribution shift."""

from pathlib import Path

from apo_bench.config.params import PARAMS, Params, load_params
from apo_bench.core import layout
from apo_bench.core.files import complete_directory, write_json, write_jsonl
from apo_bench.core.layout import DATA, FIRST_ROUND, MODELS, RESULTS, SFT, Arm, Reference, records
from apo_bench.core.records import ScoresRow
from apo_bench.core.seeds import use_threads
from apo_bench.core.stage import Files, Sizes, Stage, Work
from apo_bench.game.ledger import read_players, samples_scored_by, score_players
from apo_bench.game.numbers import game_numbers
from apo_bench.game.players import FIXED, START, ledger_rows, reward_model_folders
from apo_bench.game.results import shift_reference
from apo_bench.game.shift import read_shifted

STAGE = Stage(runs="training")


def files(method: str, reward_model: str, seed: int) -> Files:
    """The ledger of an arm, from its reward models and evaluations: folders stand for their rounds, which no list can name."""
    arm = Arm(method, reward_model, seed)
    reads = {
        "golden": records(DATA, "golden_test"),
        "base": layout.reward_model(MODELS, FIXED, seed),
        "first_score": arm.score(RESULTS, FIRST_ROUND),
        "arm": arm.folder(RESULTS),
        "sft": Reference(SFT, seed).evaluation(RESULTS),
    }
    if reward_model != FIXED:
        reads |= {"first": arm.reward(MODELS, FIRST_ROUND), "models": arm.folder(MODELS)}
    return Files(reads, {"results": arm.game(RESULTS)})


def work(params: Params, sizes: Sizes, reward_model: str) -> Work:
    """The ledger: every test prompt with its golden response and one of each policy from SFT on, by the reward models of all rounds.

    RM_base reads the samples of all rounds too, if gold says how they should be ordered.
    """
    num_rounds, train = len(params.run.rounds), params.sampling.train
    ledger = sizes.rows("golden_test", 1, 1 + num_rounds, params.sampling.test.max_new_tokens)
    if reward_model == FIXED:
        return Work(read_reward=ledger)
    samples = num_rounds * sizes.rows("golden_lm", 0, train.num_samples, train.max_new_tokens) * params.has_gold
    return Work(read_reward=(1 + num_rounds) * ledger + samples)


def main(method: str, reward_model: str, seed: int, base: Path, golden: Path, sft: Path, results: Path) -> tuple[str, Path]:
    """Has the reward models of an arm's game score SFT and the arm's policies; writes numbers and scores."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    arm, rounds, target = Arm(method, reward_model, seed), params.run.rounds, "gold" if params.has_gold else "reward_all"
    evaluations = {START: sft} | {name: arm.evaluation(RESULTS, name) for name in rounds}
    policies, responses = read_players(evaluations, golden, (target,))
    folders = reward_model_folders(arm, MODELS, rounds)
    scores = score_players(folders, policies, responses, params.compute, params.sft.max_length)

    def score_by_base(rows: list[ScoresRow]) -> list[list[float]]:
        if reward_model == FIXED:
            return [row["rewards"] for row in rows]
        return samples_scored_by(base, rows, params.compute, params.sft.max_length)

    scored = {name: arm.score(RESULTS, name) for name in rounds}
    judged = {name: arm.judgement(RESULTS, name, SFT) for name in params.judge.rounds}
    shifted = read_shifted(shift_reference(params), scored, judged, scores, score_by_base)
    numbers = game_numbers(scores, policies, target, shifted, params.compare)
    with complete_directory(results) as folder:
        write_jsonl(folder / "scores.jsonl", ledger_rows(responses, scores))
        write_json(folder / "metrics.json", numbers)
    game, over = numbers["dynamics"], numbers["over_optimisation"]
    return f"the game {game['verdict'] if game else 'has one player'}; {over['target']} {over['verdict']}", results
