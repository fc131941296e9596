"""`python -m pipeline STAGE ...`: runs a stage here or, if a stage server is named in the environment, there (it has imported torch)."""

import signal
import sys

from apo_bench.core.checkout import use_code_of_root
from apo_bench.core.processes import die_with_parent
from pipeline.server import SOCKET_VARIABLE, forward


def main() -> int:
    """Runs the stage named first on the command line; returns its exit status."""
    import os

    die_with_parent()
    if refusal := use_code_of_root("pipeline"):
        print(f"pipeline: {refusal}", file=sys.stderr)
        return 1
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        from pipeline.stage import explain

        return explain(sys.argv[1:])
    socket_path = os.environ.get(SOCKET_VARIABLE)
    if socket_path and (status := forward(socket_path, sys.argv[1:])) is not None:
        if status > 128:
            print(f"{sys.argv[1]}: ended by {_signal(status - 128)}; if memory ran out, run fewer stages at a time", file=sys.stderr)
        return status
    from pipeline.stage import run_stage

    return run_stage(sys.argv[1], sys.argv[2:])


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
