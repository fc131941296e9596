"""What a profile will take and what would spoil it, before anything runs."""

from typing import Any

Records = dict[str, list[dict[str, Any]]]
"""File of out/data, without its suffix -> its records."""
