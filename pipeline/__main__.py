"""`python -m pipeline STAGE ...`: runs a stage here or, if a stage server is named in the environment, there (it has imported torch)."""

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
    if socket_path:
        return forward(socket_path, sys.argv[1:])
    from pipeline.stage import run_stage

    return run_stage(sys.argv[1], sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
