"""The conformance kit as tests, for the tests of this repository and of other packages."""

from collections.abc import Callable

import pytest

from apo_bench.conformance import CHECKS, fault_of
from apo_bench.methods.base import Method


def conformance_test(*methods: Method) -> Callable[..., None]:
    """A test of every check on every method, to be given a name that pytest finds.

    from apo_bench.conformance.testing import conformance_test
    from my_package.margin import METHOD

    test_margin = conformance_test(METHOD(METHOD.Hyperparameters(learning_rates=[1.0e-5], epochs=1, batch_size=8, max_length=512)))
    """

    @pytest.mark.parametrize("check", CHECKS)
    @pytest.mark.parametrize("method", methods, ids=lambda method: type(method).__module__.rpartition(".")[2])
    def test(method: Method, check: str) -> None:
        fault = fault_of(CHECKS[check], method)
        assert fault is None, f"{check}: {fault}"

    return test
