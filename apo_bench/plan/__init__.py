"""What a profile will take and what would spoil it, before anything runs."""

from collections.abc import Mapping, Sequence
from typing import Any

Records = Mapping[str, Sequence[Mapping[str, Any]]]
"""File of out/data, without its suffix -> its records."""
