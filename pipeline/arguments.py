"""Command lines: help, and one line for what is wrong with them."""

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """As argparse's, but a wrong command line is told in one line, without the usage."""

    def __init__(self, prog: str, description: str | None, usage: str | None = None, epilog: str | None = None) -> None:
        """`description` and `epilog` are shown as they stand."""
        form = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=prog, usage=usage, description=description, epilog=epilog, formatter_class=form)

    def error(self, message: str) -> NoReturn:
        """Ends the program with status 2."""
        self.exit(2, f"{self.prog}: {message}; --help says what there is\n")
