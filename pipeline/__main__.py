"""`python -m pipeline STAGE ...`: runs a stage here or, if a stage server is named in the environment, there (it has imported torch)."""

import signal
import sys

from apo_bench.core.checkout import use_code_of_root
from apo_bench.core.processes import PARENT_VARIABLE, die_with_parent, ended_by
from pipeline.forwarding import SOCKET_VARIABLE, forward


def main() -> int:
    """Runs the stage named first on the command line; returns its exit status."""
    import os

    is_of_run = PARENT_VARIABLE in os.environ  # which says itself which of its stages was ended
    die_with_parent()
    if refusal := use_code_of_root("pipeline"):
        print(f"pipeline: {refusal}", file=sys.stderr)
        return 1
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        from pipeline.stage import explain

        return explain(sys.argv[1:])
    socket_path = os.environ.get(SOCKET_VARIABLE)
    if socket_path and (status := forward(socket_path, sys.argv[1:])) is not None:
        if status > 128 and not is_of_run:
            print(f"{sys.argv[1]}: {ended_by(status - 128)}", file=sys.stderr)
        return status
    from pipeline.stage import run_stage

    return run_stage(sys.argv[1], sys.argv[2:])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
