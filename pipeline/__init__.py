"""The stages of dvc.yaml, one module a stage, run as `python -m pipeline STAGE`."""

import signal
import sys

if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a command that is still importing has nothing to say to Ctrl-C
