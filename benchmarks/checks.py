"""What the checks of inputs cost: `python -m benchmarks.checks`, in a copy of a finished run.

One stage of each entry of dvc.yaml is run once more under Python's profiler, and writes what is there already. What it spent in reading
JSON and in looking at rows and models counts whole, though part of it there would be without any check; the profiler adds more to that
than to the work of tensors. So the share is at most the one that is printed. Stages count as often as dvc.lock has them.
"""

import cProfile
import pstats
from collections import defaultdict
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from apo_bench.config.params import PARAMS, load_params
from apo_bench.core.seeds import use_threads
from apo_bench.provenance.lock import LOCK, Lock
from pipeline.stage import run_stage

CHECKS = {
    "JSON is read strictly": {("strict_json.py", "parse"), ("strict_json.py", "parse_list"), ("strict_json.py", "parse_row")},
    "rows are looked at": {("schemas.py", "check")},
    "models are looked at": {("loading.py", name) for name in ("check_whole", "check_finite", "check_generation")},
}


def main() -> None:
    """Prints a row an entry of dvc.yaml, then all."""
    use_threads(load_params(PARAMS).compute.num_threads)
    entries = defaultdict(list)
    for name, entry in Lock(LOCK).stages.items():
        entries[name.partition("@")[0]].append(entry["cmd"])
    total: dict[str, float] = defaultdict(float)
    print(f"| entry | stages | seconds | {' | '.join(CHECKS)} |\n|---|{'---:|' * (2 + len(CHECKS))}")
    for name, commands in entries.items():
        seconds = spent(commands[0])
        print(
            f"| {name} | {len(commands)} | {seconds['all']:.2f} | {' | '.join(f'{seconds[check]:.4f}' for check in CHECKS)} |", flush=True
        )
        for key, value in seconds.items():
            total[key] += value * len(commands)
    shares = {check: total[check] / total["all"] for check in CHECKS}
    print(f"\n{total['all']:.0f} s in all; " + ", ".join(f"{check}: {share:.2%}" for check, share in shares.items()))
    print(f"together at most {sum(shares.values()):.2%}")


def spent(command: str) -> dict[str, float]:
    """Seconds of a stage, and of each kind of check in it."""
    script, *options = command.partition("pipeline ")[2].split()
    with redirect_stderr(StringIO()) as said, redirect_stdout(StringIO()), cProfile.Profile() as profile:
        status = run_stage(script, options)
    if status:
        raise SystemExit(said.getvalue())
    stats: Any = pstats.Stats(profile)
    by_name: dict[tuple[str, str], float] = defaultdict(float)
    for (file, _, function), (_, _, _, cumulative, _) in stats.stats.items():
        by_name[Path(file).name, function] += cumulative
    return {"all": stats.total_tt} | {check: sum(by_name[one] for one in ones) for check, ones in CHECKS.items()}


if __name__ == "__main__":
    main()
