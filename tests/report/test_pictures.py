"""Charts as pictures: the same bytes each time, text as text, nothing that loads; whole with their key."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from apo_bench.report.pictures import Chart, Key, Panel

MAGIC = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}
SVG = "{http://www.w3.org/2000/svg}"


def panel(name="gold"):
    return Panel(name, f"Title of {name}", ("round", "mean score"), lambda axes: axes.plot([0, 1], [0, 2]), "It rises.")


def texts(svg):
    return {element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")}


def test_a_panel_is_the_same_bytes_each_time_and_its_text_is_text():
    assert panel().svg == panel().svg
    assert {"Title of gold", "round", "mean score", "1.0"} <= texts(panel().svg)


def test_a_panel_loads_nothing_and_says_nothing_of_when_and_by_what_it_was_made():
    assert b"<image" not in panel().svg and b"url(http" not in panel().svg
    assert b"<metadata" not in panel().svg and b"https://matplotlib.org" not in panel().svg


@pytest.mark.parametrize("kind", MAGIC)
def test_a_chart_is_one_picture_of_all_panels_and_its_key(kind):
    chart = Chart(
        "c",
        "Chart",
        "Text.",
        [panel("one"), panel("two"), panel("three")],
        [Key("RJS", "#0072B2", has_line=False), Key("base", "#333", "6 3")],
    )
    picture = chart.picture(kind)
    assert picture.startswith(MAGIC[kind]) and picture == chart.picture(kind)
    if kind == "svg":
        assert {"Title of one", "Title of two", "Title of three", "RJS", "base"} <= texts(picture)
        sizes = [ElementTree.fromstring(replace(chart, most_columns=n).picture("svg")).attrib for n in (1, 3)]
        assert float(sizes[0]["height"][:-2]) > float(sizes[0]["width"][:-2]) and float(sizes[1]["width"][:-2]) > float(
            sizes[1]["height"][:-2]
        )


def test_an_open_marker_and_dashes_are_those_of_the_key():
    assert Key("base", "#123456", "6 3", "s", is_filled=False).style == {
        "color": "#123456", "linestyle": (0, (3.75, 1.875)), "marker": "s", "markerfacecolor": "white",
    }  # fmt: skip
