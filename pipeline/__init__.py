"""What runs the stages of dvc.yaml, which stand in `pipeline.stages`, and the programs around them: `python -m pipeline STAGE`."""

import signal
import sys

if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a command that is still importing has nothing to say to Ctrl-C
