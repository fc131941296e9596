"""Which of a prompt's samples RM_base picks."""

from apo_bench.engines.sampling import Samples
from pipeline.stages.best_of_n import best_of


def test_the_best_scored_response_and_what_belongs_to_it():
    group = Samples(["a", "b", "c"], [True, False, True], 7, [1, 2, 3])
    assert best_of(group, [0.1, 0.9, 0.3]) == Samples(["b"], [False], 7, [2])
    assert best_of(group, [0.5, 0.2, 0.5]) == Samples(["a"], [True], 7, [1]), "the first of equals"
