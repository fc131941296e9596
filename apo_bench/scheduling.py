"""Which stage comes next, and where it runs: the stages of a graph get devices of hosts as they become free."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from apo_bench.engines.devices import VISIBLE_VARIABLE, Need


@dataclass(frozen=True)
class Host:
    """A machine, and what it has for stages."""

    name: str
    num_slots: int
    """Stages that its processors have room for, beside those that have devices."""
    devices: tuple[str, ...] = ()
    """GPUs, as `VISIBLE_VARIABLE` names them there."""
    stages_per_device: int = 1
    takes: Literal["all", "models", "light"] = "all"
    """Which stages: `Need.is_light` says which are light."""


@dataclass(frozen=True)
class Place:
    """What a stage was given."""

    host: str
    devices: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that keep the stage to its devices."""
        return {VISIBLE_VARIABLE: ",".join(self.devices)} if self.devices else {}


@dataclass
class _Free:
    """What of a host is not taken."""

    host: Host
    slots: int = 0
    load: dict[str, int] = field(default_factory=dict)
    """Device -> stages on it; as many as there may be where one has it for itself."""


class Places:
    """The devices and processors of hosts, and which of them are taken. Without any device all stages get processors."""

    def __init__(self, hosts: Iterable[Host]) -> None:
        self._hosts: dict[str, _Free] = {}
        for host in hosts:
            self.add(host)

    def add(self, host: Host) -> None:
        """One more host, with nothing on it."""
        self._hosts[host.name] = _Free(host, host.num_slots, dict.fromkeys(host.devices, 0))

    def remove(self, name: str) -> None:
        """A host has gone; what it had for stages goes with it."""
        self._hosts.pop(name, None)

    @property
    def names(self) -> set[str]:
        """Of the hosts."""
        return set(self._hosts)

    @property
    def capacity(self) -> int:
        """Stages that can run at the same time, at most."""
        hosts = [free.host for free in self._hosts.values()]
        return sum(host.num_slots + len(host.devices) * host.stages_per_device for host in hosts)

    def take(self, need: Need) -> Place | None:
        """The least loaded place that will do, which is then taken; None if there is none.

        A stage that needs more devices than any host has gets all of one, and says itself what it lacks.
        """
        unsuited = "models" if need.is_light else "light"
        hosts = [free for free in self._hosts.values() if free.host.takes != unsuited]
        num_devices = min(need.num_devices, max((len(free.load) for free in hosts), default=0))
        if num_devices == 0:
            free = max(hosts, key=lambda free: free.slots, default=None)
            if free is None or free.slots == 0:
                return None
            free.slots -= 1
            return Place(free.host.name)
        if need.is_whole or num_devices > 1:
            return self._take_whole(hosts, num_devices)
        candidates = [(load, free, device) for free in hosts for device, load in free.load.items()]
        load, free, device = min(candidates, key=lambda candidate: candidate[0])
        if load >= free.host.stages_per_device:
            return None
        free.load[device] += 1
        return Place(free.host.name, (device,))

    def _take_whole(self, hosts: Iterable[_Free], num_devices: int) -> Place | None:
        for free in hosts:
            idle = [device for device, load in free.load.items() if load == 0]
            if len(idle) >= num_devices:
                given = tuple(idle[:num_devices])
                free.load |= dict.fromkeys(given, free.host.stages_per_device)
                return Place(free.host.name, given)
        return None

    def give_back(self, place: Place, need: Need) -> None:
        """A stage has ended; a place on a host that has gone meanwhile is none."""
        free = self._hosts.get(place.host)
        if free is None:
            return
        if not place.devices:
            free.slots += 1
        for device in place.devices:
            free.load[device] -= free.host.stages_per_device if need.is_whole or len(place.devices) > 1 else 1


class Schedule:
    """The stages that are left, the longest chain of dependants first.

    All of it takes time in proportion to the stages and what they depend on, but for a heap's logarithm.
    """

    def __init__(self, order: Sequence[str], parents: Mapping[str, set[str]], needs: Mapping[str, Need]) -> None:
        """Args:
        order: the stages, parents before children.
        parents: what each waits for.
        needs: what each takes.
        """
        self._needs = needs
        self._missing = {name: len(parents[name]) for name in order}
        self._children: dict[str, list[str]] = {name: [] for name in order}
        for name in order:
            for parent in parents[name]:
                self._children[parent].append(name)
        depth = dict.fromkeys(order, 0)
        """How many stages follow one another after each stage, at most."""
        for name in reversed(order):
            depth[name] = max((depth[child] + 1 for child in self._children[name]), default=0)
        self._rank = {name: (-depth[name], position) for position, name in enumerate(order)}
        self._ready: dict[Need, list[tuple[tuple[int, int], str]]] = {need: [] for need in needs.values()}
        self._num_left = len(order)
        for name in order:
            if not parents[name]:
                self._push(name)

    @property
    def is_finished(self) -> bool:
        """Whether all stages have ended."""
        return self._num_left == 0

    def start(self, places: Places) -> tuple[str, Place] | None:
        """The first stage of those that wait for none and find a place, and the place, which is taken; None if there is no such stage."""
        for ready in sorted((ready for ready in self._ready.values() if ready), key=lambda ready: ready[0]):
            if place := places.take(self._needs[ready[0][1]]):
                return heapq.heappop(ready)[1], place
        return None

    def end(self, name: str, place: Place, places: Places) -> None:
        """The stage has ended well: its place is free, and so are those that waited for it alone."""
        places.give_back(place, self._needs[name])
        self._num_left -= 1
        for child in self._children[name]:
            self._missing[child] -= 1
            if self._missing[child] == 0:
                self._push(child)

    def again(self, name: str) -> None:
        """The stage's host has gone, and it waits once more."""
        self._push(name)

    def _push(self, name: str) -> None:
        heapq.heappush(self._ready[self._needs[name]], (self._rank[name], name))
