"""The game as metrics: every number with both ends of its interval, at the round it is about."""

from games import played

from apo_bench.tracking.game import game_measures, game_tags, shift_measures


def test_every_number_of_the_game_has_its_interval_and_round(params):
    numbers = played(params, "adversarial", ["r1", "r2"], "gold")
    standing = {"r1": {"is_pareto": True, "share": 0.75, "standing": "undecided"}}
    found = [*game_measures(numbers, standing, "r2"), *shift_measures(numbers, "r2")]
    values = {(name, at): value for group, named, at in found if group == "game" for name, value in named.items()}
    ends = {(name, at) for group, named, at in found if group == "uncertainty" for name in named}
    assert len(values) == sum(group == "game" for group, *_ in found) + 1  # nothing overwrites; is_pareto stands beside the share
    alone = {"frontier_share", "is_pareto", "shift_num_pairs"}
    assert ends == {(f"game_{name}_{end}", at) for name, at in values if name not in alone for end in ("low", "high")}
    assert values["accuracy_by_r1", "r2"] == numbers["matrix"]["r1"]["r2"]["accuracy"]["value"]
    assert values["score_of_golden_by_r1", "r1"] == numbers["matrix"]["r1"]["golden"]["score"]["value"]
    assert values["forgetting", "r2"] == numbers["dynamics"]["measures"]["forgetting"]["value"]
    assert values["target_change_to_last", "r0"] == numbers["over_optimisation"]["to_last"]["r0"]["target"]["value"]
    assert (values["frontier_share", "r1"], values["is_pareto", "r1"], values["shift_num_pairs", "r2"]) == (0.75, 1.0, 12)


def test_what_is_unknown_is_left_out(params):
    numbers = played(params, "base", ["r1"], "")
    names = {name for group, named, _ in game_measures(numbers, {}, "r1") for name in named if group == "game"}
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
