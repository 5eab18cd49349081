"""See what a layer keeps of a picture: make another that the layer cannot tell from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nbcnnviz.core.network import Network
from nbcnnviz.core.targets import Likeness
from nbcnnviz.synthesis.ascent import Frames
from nbcnnviz.synthesis.dreaming import middle
from nbcnnviz.synthesis.parameterization import Colours
from nbcnnviz.synthesis.recipe import Size, Words, begin, named, one_picture, picture_of, recipe


@recipe(
    "Inversion", takes="picture", raises="layer", learning_rate=0.05, tv=1e-6, jitter=0, scale=0, rotate=0, jitter_after=0, redirected_relu=0
)  # fmt: skip
def invert(
    net: Network,
    image: Any = "chelsea",
    layer: str | None = None,
    *,
    steps: int = 256,
    size: Size = None,
    **options: Any,
) -> Frames:
    """Feature inversion (Mahendran & Vedaldi 2015): match a layer's output for a picture, with total variation.

    Minimises ``|A(I) - A(image)|^2 / |A(image)|^2 + tv TV(I)`` by Adam, from noise.

    Parameters
    ----------
    image
        As `load_image` takes it, or a preprocessed (1, C, H, W) tensor.
    layer
        Whose output is matched. Default: a layer in the middle of the network.
    steps
        How many. Default: 256.
    **options
        Those of `synthesize`.
    """
    layer = layer or middle(net)
    wanted = one_picture(picture_of(net, Colours(net), image, size))
    activation = net.tracer([layer], stop=True)(wanted.to(net.dtype))[layer]
    ascent = begin(
        "invert", net, Likeness(layer, activation), steps=steps, size=tuple(wanted.shape[2:]),
        subject=Words(f"{named(image)}, {layer!r}"), origin=options.get("start", image), **options,
    )  # fmt: skip
    # Not the size that was found: naming it asks for another way of scaling than the network's preprocess.
    ascent.provenance = replace(ascent.provenance, arguments={**ascent.provenance.arguments, "size": size})
    return ascent.frames()
