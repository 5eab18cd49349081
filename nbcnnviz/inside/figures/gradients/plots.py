"""What is in the charts of the Gradients panel, on screen and in a file."""

from __future__ import annotations

import numpy as np
from PIL import Image

from nbcnnviz.inside.figures.gradients.frame import GradientsFrame
from nbcnnviz.inside.figures.gradients.words import layer_words
from nbcnnviz.inside.statistics import HEALTHY, Histogram
from nbcnnviz.render.plots import BLUE, GREEN, PURPLE, Plot, Ruler, plots_image, short, stacked

_COLOURS = {"activations": GREEN, "gradients": PURPLE, "weights": BLUE, "weight gradients": PURPLE}


def depth_plots(frame: GradientsFrame) -> list[Plot]:
    """Gradients, activations, and the ratio of update to weight; a column a layer."""
    found = frame.depth
    what = "root mean square" if frame.size == "RMS" else "L2 norm"
    gradient, activation = found.gradient / frame.roots, found.activation / frame.roots
    hints = [layer_words(frame, column) for column in range(len(found.layers))]
    broken = [*zip(*(frame.broken(layer) for layer in found.layers), strict=True)] or [(), (), ()]
    last = len(found.layers) - 1
    ticks = {float(i): str(i + 1) for i in sorted({round(last * k / 8) for k in range(9)})} if last >= 0 else {}
    plots = [
        (f"Gradient of {frame.words} at each layer's output, {what}", gradient, PURPLE, None),
        (f"Activation, {what}", activation, GREEN, None),
        (f"Update / weight at learning rate {found.learning_rate:g}; dashed: 0.001", found.ratio, BLUE, HEALTHY),
    ]
    return [
        Plot(
            title,
            values,
            Ruler.decades(values if reference is None else np.append(values, [reference / 3, reference * 3])),
            bars=False,
            colour=colour,
            ticks=ticks,
            broken=np.array(marks, bool) | np.isinf(values),
            reference=reference,
            chosen=frame.at,
            hints=hints,
        )
        for (title, values, colour, reference), marks in zip(plots, broken, strict=True)
    ]


def spread_plots(frame: GradientsFrame) -> list[Plot]:
    """A histogram of each kind of value that the layer has."""
    plots = []
    for what, found in frame.histograms.items():
        counts = found.counts.astype(np.float64)
        counts[counts == 0] = np.nan  # no bar, and no mark either
        plots.append(
            Plot(
                _spread_title(what, found),
                counts,
                Ruler.decades(counts, low=0.5) if frame.log_counts else Ruler.even(counts),
                colour=_COLOURS[what],
                ticks=_edges(found),
                hints=[
                    f"{short(low)} to {short(high)}: {count:,}"
                    for low, high, count in zip(found.edges, found.edges[1:], found.counts.tolist(), strict=False)
                ],
            )
        )
    return plots


def _edges(found: Histogram) -> dict[float, str]:
    """The ends, and zero or the middle, written where they are."""
    low, high, bins = float(found.edges[0]), float(found.edges[-1]), len(found.counts)
    middle = 0.0 if low < 0 < high else (low + high) / 2
    share = (middle - low) / (high - low)
    ticks = {-0.5: short(low), bins - 0.5: short(high)}
    if 0.2 < share < 0.8:
        ticks[round(share * bins - 0.5, 3)] = short(middle)
    return ticks


def _spread_title(what: str, found: Histogram) -> str:
    amiss = [f"{count:,} {name}" for count, name in ((found.nan, "NaN"), (found.infinite, "infinite")) if count]
    shown = found.counts[found.counts > 0]
    same_ = ", all the same" if len(shown) == 1 and float(found.edges[-1] - found.edges[0]) == 1.0 else ""
    return f"{what.capitalize()}: {found.total:,} values{same_}{', of which ' if amiss else ''}{' and '.join(amiss)}"


def picture(frame: GradientsFrame) -> Image.Image:
    """The charts, as they are on screen."""
    sheets = [plots_image(depth_plots(frame), width=960, height=130)]
    if frame.histograms:
        sheets.append(plots_image(spread_plots(frame), columns=2, width=960, height=150))
    return stacked(sheets)
