"""Has a judge compare a policy's test responses with an opponent's, in both orders, and says what its verdicts are worth."""

from pathlib import Path

from apo_bench.config.params import PARAMS, load_params
from apo_bench.core.layout import LEDGERS, RESPONSES, RESULTS, SFT, Arm, Reference
from apo_bench.core.stage import Files, Stage, Step
from apo_bench.judge.judgements import judge_responses, shared_ledgers, write_judgement

STAGE = Stage(runs="judge", step=Step.JUDGEMENT)


def files(provider: str, method: str, reward_model: str, seed: int, round: str, opponent: str) -> Files:
    """Verdicts on the arm's responses of a round against SFT's, or those of the arm with the OPPONENT for reward model."""
    arm = Arm(method, reward_model, seed)
    against = Reference(SFT, seed).responses(RESPONSES) if opponent == SFT else arm.against(opponent).responses(RESPONSES, round)
    return Files(
        {"responses": arm.responses(RESPONSES, round), "against": against},
        {"ledger": arm.ledger(LEDGERS / provider, round, opponent), "results": arm.judgement(RESULTS, round, opponent)},
    )


def main(provider: str, responses: Path, against: Path, ledger: Path, results: Path, replay: bool) -> tuple[str, Path]:
    """Judges an arm's test responses; keeps the answers in a ledger; --replay asks nobody."""
    params = load_params(PARAMS)
    rows, numbers = judge_responses(params, responses, against, *shared_ledgers(ledger, provider), replay)
    return write_judgement(rows, numbers, results), results
