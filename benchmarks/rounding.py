"""Two runs of one profile that differ in how sums are rounded: do they say the same?

    python -m benchmarks.rounding one/report/summary.json another/report/summary.json

Prints a Markdown table of all contrasts of claims and all differences from base after the last round, in both runs, and how many verdicts
agree and how many contradict each other. A run is rounded otherwise by another number of threads (`compute.num_threads`) or processor.
"""

import argparse
import json
from pathlib import Path
from typing import Any

OPPOSITE = ({"reproduced", "not reproduced"},)


def main() -> None:
    """Reads two summaries; prints the table and the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("one", type=Path)
    parser.add_argument("other", type=Path)
    options = parser.parse_args()
    found = [said(json.loads(path.read_text(encoding="utf-8"))) for path in (options.one, options.other)]
    if found[0].keys() != found[1].keys():
        raise SystemExit(f"{options.one} and {options.other} are not of the same contrasts; run the same profile twice")
    num_agreeing, num_opposite = 0, 0
    print("| contrast | one | other | verdicts |\n|---|---:|---:|---|")
    for name, one in found[0].items():
        other = found[1][name]
        agrees = one["verdict"] == other["verdict"]
        num_agreeing += agrees
        num_opposite += is_opposite(one["verdict"], other["verdict"])
        shown = one["verdict"] if agrees else f"**{one['verdict']} / {other['verdict']}**"
        print(f"| {name} | {estimate(one)} | {estimate(other)} | {shown} |")
    num = len(found[0])
    print(f"\n{num_agreeing} of {num} verdicts agree ({100 * num_agreeing / num:.1f} %); {num_opposite} contradict each other.")


def said(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Contrast -> its estimate, and the verdict of its claim or its own."""
    contrasts = {}
    for outcome, claims in summary["claims"]["families"].items():
        for name, claim in claims.items():
            for contrast in claim["contrasts"]:
                contrasts[f"{name}, {outcome}: {contrast['contrast']}"] = contrast | {"verdict": claim["verdict"]}
    last = summary["run"]["later_rounds"][-1]["id"] if summary["run"]["later_rounds"] else "r1"
    for arm, difference in summary["differences"].items():
        for metric, values in difference["rounds"][last].items():
            if "verdict" in values:
                contrasts[f"{arm} − base: {metric}"] = values
    return contrasts


def is_opposite(one: str, other: str) -> bool:
    """Whether both are decided, and in opposite directions."""
    return {one, other} in OPPOSITE or (one != other and one.endswith(" better") and other.endswith(" better"))


def estimate(values: dict[str, Any]) -> str:
    """A value with its interval."""
    return f"{values['value']:+.3f} [{values['low']:+.3f}, {values['high']:+.3f}]"


if __name__ == "__main__":
    main()
