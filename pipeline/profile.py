"""The stages of the current folder, as DVC has read them once for all workers."""

import logging
from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Any

from apo_bench.config.params import Params
from apo_bench.engines.devices import Need
from apo_bench.stages import changed_stages, stage_graph, stage_index, stage_needs


@dataclass(frozen=True)
class Profile:
    """The stages of the current folder, as DVC has read them."""

    repo: Any
    stages: dict[str, Any]
    order: list[str]
    parents: dict[str, set[str]]
    needs: dict[str, Need]

    @classmethod
    def read(cls, params: Params) -> "Profile":
        """Has DVC read dvc.yaml, once for all workers."""
        from dvc.logger import setup

        setup(logging.WARNING)
        said_of_outputs = logging.getLogger("dvc.output")
        said_of_outputs.addFilter(lambda record: record.msg != "'%s' is empty.")  # as a ledger is where nothing had to be asked
        index = stage_index(params.root)
        order, parents = stage_graph(index)
        stages = {stage.addressing: stage for stage in index.stages}
        return cls(index.repo, stages, order, parents, stage_needs(index, params))

    def changed(self) -> "Profile":
        """The stages that have to run, be restored or be looked at again, as they come after such."""
        return self.only(changed_stages(self.stages, self.order, self.parents))

    def only(self, names: Set[str]) -> "Profile":
        """Some of the stages, which wait for each other alone."""
        order = [name for name in self.order if name in names]
        return replace(self, order=order, parents={name: self.parents[name] & names for name in order})
