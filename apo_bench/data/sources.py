"""The sources of records, by the name that `prepare.source` has for each."""

from collections.abc import Callable
from typing import Any

from apo_bench.config.data_sections import EmbeddedData, HHData, PreferenceData
from apo_bench.data.hh_preparation import prepare_hh
from apo_bench.data.preferences import prepare_preferences
from apo_bench.data.preparation import Rows, prepare_embedded

SOURCES: dict[str, Callable[[Any], tuple[dict[str, Rows], dict[str, Any]]]] = {
    "embedded": prepare_embedded,
    "hh": prepare_hh,
    "preferences": prepare_preferences,
}


def prepare_records(settings: EmbeddedData | HHData | PreferenceData) -> tuple[dict[str, Rows], dict[str, Any]]:
    """All records of the profile, by file name, and a report of their counts; errors as those of its source."""
    return SOURCES[settings.source](settings)
