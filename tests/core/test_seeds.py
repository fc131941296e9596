"""Seeds depend on names, not on the process or on the order of calls."""

from apo_bench.core.seeds import derive_seed


def test_golden_value():
    """First 8 bytes of SHA-256 of "0", unit separator, "r1", halved (sha256sum); a change here changes every result of the benchmark."""
    assert derive_seed(0, "r1") == 0xBED5EC4C3DD01D6B // 2


def test_each_name_matters():
    seeds = {derive_seed(0), derive_seed(1), derive_seed(0, "a"), derive_seed(0, "a", 1), derive_seed(0, "a1"), derive_seed(0, 1, "a")}
    assert len(seeds) == 6
    assert all(0 <= seed < 2**63 for seed in seeds)
