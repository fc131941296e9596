"""Stages get devices: none is shared beyond its param, none is idle while a stage waits that it would do for."""

import heapq
import random
from collections import Counter

import pytest

from apo_bench.engines.devices import Need
from apo_bench.scheduling import Host, Place, Places, Schedule

ONE, WHOLE, TWO, NONE = Need(1), Need(1, is_whole=True), Need(2, is_whole=True), Need()


def devices(*names: str, shared: int = 1, slots: int = 1, host: str = "") -> Host:
    return Host(host, slots, names, shared)


def run(order, parents, needs, places, seconds, watch=lambda running, schedule: None):
    """Runs a schedule to its end by the clock of `seconds`; `watch` sees what runs after each change. Returns names as they ended."""
    schedule, running, ended, now = Schedule(order, parents, needs), [], [], 0.0
    while not schedule.is_finished:
        while started := schedule.start(places):
            heapq.heappush(running, (now + seconds[started[0]], *started))
        watch([(name, place) for _, name, place in running], ended)
        assert running, "nothing runs and nothing starts"
        now, name, place = heapq.heappop(running)
        schedule.end(name, place, places)
        ended.append(name)
    return ended


@pytest.mark.parametrize("seed", range(20))
def test_devices_are_neither_shared_beyond_the_param_nor_idle_while_a_stage_waits(seed: int) -> None:
    """Random graphs of stages with random needs on two hosts with five fake devices."""
    draw = random.Random(seed)
    names = [f"stage{number}" for number in range(120)]
    parents = {name: set(draw.sample(names[:number], min(number, draw.choice([0, 1, 1, 2])))) for number, name in enumerate(names)}
    needs = {name: draw.choice([ONE, ONE, ONE, WHOLE, TWO, NONE]) for name in names}
    seconds = {name: draw.uniform(1, 9) for name in names}
    shared = draw.choice([1, 2, 4])
    hosts = [devices("0", "1", "2", shared=shared, slots=2, host="a"), devices("0", "1", shared=shared, slots=1, host="b")]
    all_devices = [(host.name, device) for host in hosts for device in host.devices]
    most = Counter()

    def watch(running: list[tuple[str, Place]], ended: list[str]) -> None:
        on = {device: [name for name, place in running for used in place.devices if (place.host, used) == device] for device in all_devices}
        for device, stages in on.items():
            most[device] = max(most[device], len(stages))
            assert len(stages) <= shared and (len(stages) <= 1 or all(needs[name] == ONE for name in stages))
        without = [(place.host, name) for name, place in running if not place.devices]
        assert all(needs[name] == NONE for _, name in without) and all(Counter(h for h, _ in without)[h.name] <= h.num_slots for h in hosts)
        assert all(len(place.devices) == needs[name].num_devices for name, place in running)
        assert all(parents[name] <= set(ended) for name, _ in running)
        waiting = [name for name in names if name not in ended and name not in dict(running) and parents[name] <= set(ended)]
        idle = Counter(host for host, device in all_devices if not on[host, device])
        room = any(len(stages) < shared and all(needs[name] == ONE for name in stages) for stages in on.values())
        for name in waiting:
            need = needs[name]
            assert not (need == ONE and room), f"{name} waits beside a device with room"
            assert not (need.is_whole and max(idle.values(), default=0) >= need.num_devices), f"{name} waits beside idle devices"
            assert need != NONE or len(without) == 3, f"{name} waits beside idle processors"

    assert sorted(run(names, parents, needs, Places(hosts), seconds, watch)) == sorted(names)
    assert max(most.values()) == shared, "the test saw devices full"


def test_stages_are_spread_over_devices_before_any_is_shared() -> None:
    places = Places([devices("0", "1", shared=2)])
    assert [places.take(ONE).devices for _ in range(4)] == [("0",), ("1",), ("0",), ("1",)]
    assert places.take(ONE) is None
    places.give_back(Place("", ("1",)), ONE)
    assert places.take(ONE) == Place("", ("1",))


def test_who_has_devices_for_itself_waits_for_idle_ones() -> None:
    places = Places([devices("3", "GPU-5", shared=4)])
    first = places.take(ONE)
    assert places.take(TWO) is None and places.take(WHOLE) == Place("", ("GPU-5",)) and places.take(WHOLE) is None
    places.give_back(first, ONE)
    places.give_back(Place("", ("GPU-5",)), WHOLE)
    both = places.take(TWO)
    assert both.environment == {"CUDA_VISIBLE_DEVICES": "3,GPU-5"} and places.take(ONE) is None


def test_more_devices_than_there_are_is_all_of_one_host() -> None:
    """The stage says what it lacks; a schedule that waited for them would never end."""
    assert Places([devices("0", host="a"), devices("0", "1", host="b")]).take(Need(8, is_whole=True)) == Place("b", ("0", "1"))


def test_without_devices_stages_take_processors() -> None:
    places = Places([Host("", 2)])
    assert places.capacity == 2
    taken = [places.take(need) for need in (ONE, NONE)]
    assert taken == [Place("")] * 2 and places.take(ONE) is None and taken[0].environment == {}
    places.give_back(taken[0], ONE)
    assert places.take(TWO) == Place("")


def test_light_stages_stay_on_the_host_for_them() -> None:
    places = Places([Host("", 1, takes="light"), Host("node", 2, takes="models")])
    light = Need(is_light=True)
    assert [places.take(light), places.take(light)] == [Place(""), None]
    assert [places.take(NONE) for _ in range(3)] == [Place("node"), Place("node"), None]


def test_a_host_that_goes_takes_its_places_with_it() -> None:
    places = Places([devices("0", slots=0, host="a"), devices("0", slots=0, host="b")])
    on_a = places.take(ONE)
    places.remove("a")
    assert on_a.host == "a" and places.take(ONE).host == "b" and places.take(ONE) is None
    places.give_back(on_a, ONE)
    assert places.take(ONE) is None
    places.add(devices("0", slots=0, host="a"))
    assert places.take(ONE) == on_a


def test_the_longest_chain_comes_first_and_what_was_lost_comes_again() -> None:
    parents = {"alone": set(), "first": set(), "second": {"first"}}
    schedule, places = Schedule(list(parents), parents, dict.fromkeys(parents, NONE)), Places([Host("", 1)])
    name, place = schedule.start(places)
    assert name == "first" and schedule.start(places) is None
    places.give_back(place, NONE)
    schedule.again(name)
    assert schedule.start(places) == ("first", place)
    schedule.end("first", place, places)
    assert [schedule.start(places)[0], schedule.is_finished] == ["alone", False], "equally long: as ordered"
    schedule.end("alone", place, places)
    assert schedule.start(places)[0] == "second"
    schedule.end("second", place, places)
    assert schedule.is_finished
