"""Colours of runs in MLflow's charts."""

import colorsys
from collections.abc import Collection

from apo_bench.core.layout import BEST_OF_N, GOLDEN, HUMAN, SFT, Arm

COLOR = "mlflow.runColor"
"""The tag that MLflow reads a run's colour from."""
HUES = (0.59, 0.03, 0.36, 0.77, 0.09, 0.51, 0.92, 0.17)
"""Of the methods of a run, in its order; then from the first again."""
LIGHTEST, DARKEST = 0.78, 0.32
"""Lightness of an arm with the first and the last reward model of the run: the fixed one comes first."""
REFERENCE_COLORS = {SFT: "#7f7f7f", GOLDEN: "#bcbd22", HUMAN: "#8c564b", BEST_OF_N: "#e377c2"}
OTHER_COLOR = "#17becf"


def arm_color(arm: Arm, arms: Collection[Arm]) -> str:
    """A hue a method, a shade a reward model, by their places among all arms of the run."""
    methods, kinds = (list(dict.fromkeys(getattr(one, key) for one in arms)) for key in ("method", "reward_model"))
    place = kinds.index(arm.reward_model) / max(1, len(kinds) - 1)
    hue = HUES[methods.index(arm.method) % len(HUES)]
    rgb = colorsys.hls_to_rgb(hue, LIGHTEST + place * (DARKEST - LIGHTEST), 0.6)
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)
