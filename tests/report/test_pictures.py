"""Charts as pictures: the same bytes each time, text as text, nothing that loads."""

from xml.etree import ElementTree

from apo_bench.report.pictures import Key, Panel

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


def test_an_open_marker_and_dashes_are_those_of_the_key():
    assert Key("base", "#123456", "6 3", "s", is_filled=False).style == {
        "color": "#123456", "linestyle": (0, (3.75, 1.875)), "marker": "s", "markerfacecolor": "white",
    }  # fmt: skip
