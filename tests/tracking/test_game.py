"""The game as numbers of a run: each with both ends of its interval, at the round it is about."""

from games import played

from apo_bench.tracking.game import game_measures, game_tags, shift_measures


def test_every_number_of_the_game_has_its_interval_and_round(params):
    numbers = played(params, "adversarial", ["r1", "r2"], "gold")
    standing = {"r1": {"is_pareto": True, "share": 0.75, "standing": "undecided"}}
    of_game, of_shift = list(game_measures(numbers, standing, "r2")), list(shift_measures(numbers, "r2"))
    found = {(measure.key.removeprefix("game/"), measure.step): measure for measure in [*of_game, *of_shift]}
    assert len(found) == len(of_game) + len(of_shift), "nothing overwrites"
    alone = {name for (name, _), measure in found.items() if measure.low is None}
    assert alone == {"frontier_share", "is_pareto", "shift_num_pairs"}
    assert all(measure.low <= measure.value <= measure.high for measure in found.values() if measure.low is not None)
    assert found["accuracy_by_r1", 2].value == numbers["matrix"]["r1"]["r2"]["accuracy"]["value"]
    assert found["score_of_golden_by_r1", 1].value == numbers["matrix"]["r1"]["golden"]["score"]["value"]
    assert found["forgetting", 2].value == numbers["dynamics"]["measures"]["forgetting"]["value"]
    assert found["target_change_to_last", 0].low == numbers["over_optimisation"]["to_last"]["r0"]["target"]["low"]
    assert (found["frontier_share", 1].value, found["is_pareto", 1].value, found["shift_num_pairs", 2].value) == (0.75, 1.0, 12)
    assert all(measure.is_test for measure in of_game) and not any(measure.is_test for measure in of_shift)


def test_what_is_unknown_is_left_out(params):
    numbers = played(params, "base", ["r1"], "")
    names = {measure.key.removeprefix("game/") for measure in game_measures(numbers, {}, "r1")}
    expected = {"score_by_base", "accuracy_by_base", "score_of_golden_by_base", "proxy_gain", "target_change_to_last"}
    assert names == {*expected, "proxy_change_to_last"}
    assert not list(shift_measures(numbers, "r1"))
    numbers["over_optimisation"] |= {"stops_after": None}
    assert set(game_tags(numbers)) == {"game.over_optimisation"}


def test_tags_say_what_the_game_does(params):
    numbers = played(params, "adversarial", ["r1", "r2"], "gold")
    numbers["over_optimisation"] |= {"verdict": "over-optimised", "stops_after": "r1"}
    tags = {"game.dynamics": numbers["dynamics"]["verdict"], "game.over_optimisation": "over-optimised", "game.stops_after": "r1"}
    assert game_tags(numbers) == tags
