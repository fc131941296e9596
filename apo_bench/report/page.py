"""The page as HTML that needs nothing else: no network, no font, no script."""

from pathlib import Path

import jinja2

from apo_bench.report.section import Section

FOLDER = Path(__file__).parent
FOOTER = (
    "Made by apo-bench from its outputs; the same numbers are in summary.json. Method: Cheng et al., Adversarial Preference Optimization, "
    "Findings of ACL 2024."
)


def page(profile: str, title: str, lead: str, sizes: dict[str, str], sections: list[Section], footer: str = "") -> str:
    """The page; the same sections give the same bytes.

    Args:
        profile: whose it is.
        title: its heading.
        lead: what comes before all sections.
        sizes: short facts, by name.
        sections: what it is made of.
        footer: the last line.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    css = (FOLDER / "page.css").read_text(encoding="utf-8")
    template = environment.get_template("page.html.j2")
    return template.render(profile=profile, title=title, lead=lead, sizes=sizes, sections=sections, footer=footer, css=css)
