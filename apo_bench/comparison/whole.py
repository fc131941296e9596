"""All that a finished run can be told by: results, what they took by dvc.lock, and whether arms can be ranked."""

from dataclasses import replace
from pathlib import Path

from apo_bench.comparison.reading import read_comparison
from apo_bench.comparison.results import Comparison
from apo_bench.config.params import Params
from apo_bench.core.layout import MODELS, SFT
from apo_bench.provenance.budgets import policy_models, read_budgets
from apo_bench.provenance.comparability import check_comparable, read_inputs, unlike_arms
from apo_bench.provenance.lock import LOCK, Lock


def read_whole(results: Path, params: Params) -> Comparison:
    """Reads results and the dvc.lock of the current folder, which made them.

    Raises:
        MissingInputError: a file that params.run asks for is not there.
        DataError: a file is broken, or two stages evaluated different prompts.
        ComparabilityError: arms differ in more than method and reward model, and params.yaml does not say that they may.
    """
    comparison = read_comparison(results, params)
    lock = Lock(LOCK)
    unlike = unlike_arms(read_inputs(lock, params, params.run.arms, MODELS, results))
    check_comparable(unlike, params.compare.may_differ)
    return replace(
        comparison,
        budgets=read_budgets(lock, policy_models(MODELS, params.run, (SFT, *params.references.made))),
        unlike={pair: [str(fault) for fault in faults] for pair, faults in unlike.items()},
    )
