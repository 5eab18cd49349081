"""Numbers to pixels: scaling, colour maps, overlays. Works on tensors where they are; knows nothing of networks."""

from nbcnnviz.render.colours import COLOURS, DIVERGING, SEQUENTIAL, default_for, lookup_table
from nbcnnviz.render.maps import Scale, colour_picture, coloured, flat, heatmap, overlay, to_bytes, upscaled

__all__ = [
    "COLOURS",
    "DIVERGING",
    "SEQUENTIAL",
    "Scale",
    "colour_picture",
    "coloured",
    "default_for",
    "flat",
    "heatmap",
    "lookup_table",
    "overlay",
    "to_bytes",
    "upscaled",
]
