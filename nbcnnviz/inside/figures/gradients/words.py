"""What the Gradients panel says in words."""

from __future__ import annotations

import numpy as np

from nbcnnviz.core.samples import samples
from nbcnnviz.inside.figures.gradients.frame import GradientsFrame
from nbcnnviz.render.plots import short


def layer_words(frame: GradientsFrame, column: int) -> str:
    """A layer and its numbers."""
    found, layer = frame.depth, frame.depth.layers[column]
    known = frame.network.layers.get(layer)
    root = frame.roots[column]
    numbers = [f"activation {short(found.activation[column] / root)}"]
    gradient, ratio = found.gradient[column], found.ratio[column]
    bad_gradient, bad_activation, bad_weight = frame.broken(layer)
    if not np.isnan(gradient) or bad_gradient:
        numbers.append(f"gradient {short(gradient / root)}")
    else:
        numbers.append("no gradient")
    if not np.isnan(ratio) or bad_weight:
        numbers.append(f"update / weight {short(ratio)}")
    if bad_gradient or bad_activation or bad_weight:
        numbers.append("has NaN or infinite values")
    kind = "" if known is None else f" ({known.kind})"
    return f"{column + 1} of {len(found.layers)}, {layer}{kind}: {', '.join(numbers)}"


def about(frame: GradientsFrame) -> list[str]:
    """What the charts are of, and what is amiss, a sentence each."""
    said = [
        f"Every layer in the order of the forward pass, for the gradient of {frame.words}. Click a column to select it."
    ]
    found = frame.depth
    known = found.gradient[~np.isnan(found.gradient)]
    if not len(known):
        said.append("The target depends on no layer.")
    elif not known.any():
        said.append("The gradient is zero at every layer.")
    said.append(
        "Update / weight: how far one step of gradient descent would move the weights, as a share of their size; about 0.001 "
        "is healthy."
    )
    if any(bool((values == 0).any()) for values in (found.gradient, found.activation, found.ratio)):
        said.append("A ring at the bottom: exactly zero, which has no place on a logarithmic axis.")
    if found.not_finite:
        worst = list(found.not_finite.items())
        named = ", ".join(f"{count:,} in {name}" for name, count in worst[:3])
        more = f", and in {len(worst) - 3} more" if len(worst) > 3 else ""
        said.append(f"NaN or infinite, a red cross: {named}{more}.")
    return said


def dead_words(frame: GradientsFrame) -> str:
    """How many filters are dead, and over which pictures."""
    dead = frame.dead
    if not dead.layers:
        return (
            f"No layer of {frame.network.name} ends in a rectifier that cuts at zero (ReLU, ReLU6, clamp): SiLU, GELU and "
            "their like are hardly ever exactly zero, so that no filter is dead."
        )
    count, of = (sum(of_layer[i] for of_layer in dead.layers.values()) for i in range(2))
    over = "the one picture" if dead.pictures == 1 else f"all {dead.pictures} pictures"
    if not count:
        return f"None: each of {of:,} filters is above zero somewhere in {over} seen here."
    share = f"{count:,} of {of:,} filters are zero at every place of {over} seen here."
    return share + (" Other pictures may activate them." if dead.pictures < len(samples()) else "")


def summary(frame: GradientsFrame) -> str:
    """The caption of what is saved."""
    layer = "" if frame.layer is None else f"; histograms of {frame.layer}"
    return f"Gradient of {frame.words} through {frame.network.name}{layer}"
