"""The game ledger of an arm: all reward models of its game score all its policies; over-optimisation and distribution shift."""

from pathlib import Path

from apo_bench.core.config import PARAMS, load_params
from apo_bench.core.files import complete_directory, write_json, write_jsonl
from apo_bench.core.seeds import use_threads
from apo_bench.game.ledger import read_players, samples_scored_by, score_players
from apo_bench.game.numbers import game_numbers
from apo_bench.game.players import FIXED, Rows, ledger_rows, reward_model_folders
from apo_bench.game.results import shift_reference
from apo_bench.game.shift import read_shifted


def main(
    reward_model: str, base: Path, first: Path, later: Path, first_score: Path, evaluations: Path, sft: Path, data: Path, results: Path
) -> tuple[str, Path]:
    """Has BASE, FIRST (round 1) and those in LATER score SFT and the EVALUATIONS of an arm; writes numbers and scores to RESULTS."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    rounds, target = params.run.rounds, "gold" if params.has_gold else "reward_all"
    policies, golden = read_players(sft, evaluations, data / "golden_test.jsonl", rounds, (target,))
    folders = reward_model_folders(reward_model, rounds, base, first, later)
    scores = score_players(folders, policies, golden, params.compute, params.sft.max_length)

    def score_by_base(rows: Rows) -> list[list[float]]:
        if reward_model == FIXED:
            return [row["rewards"] for row in rows]
        return samples_scored_by(base, rows, params.compute, params.sft.max_length)

    shifted = read_shifted(shift_reference(params), first_score, evaluations, rounds, params.judge.rounds, scores, score_by_base)
    numbers = game_numbers(scores, policies, target, shifted, params.compare)
    with complete_directory(results) as folder:
        write_jsonl(folder / "scores.jsonl", ledger_rows(golden, scores))
        write_json(folder / "metrics.json", numbers)
    game, over = numbers["dynamics"], numbers["over_optimisation"]
    return f"the game {game['verdict'] if game else 'has one player'}; {over['target']} {over['verdict']}", results
