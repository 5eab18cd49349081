"""Pictures made by gradient ascent, as generators of frames: what a network wants to see.

`synthesize` takes every choice apart; the others are named recipes with a source. What is raised is a class, or any
target of `nbcnnviz`.
"""

import warnings

from nbcnnviz.synthesis.aliases import (
    Objective,
    channel,
    class_score,
    direction,
    diversity,
    each,
    layer_energy,
    likeness,
    unit,
)
from nbcnnviz.synthesis.controls import Controls
from nbcnnviz.synthesis.dreaming import dream
from nbcnnviz.synthesis.export import save_film, to_array
from nbcnnviz.synthesis.fooling import Fooled, fool
from nbcnnviz.synthesis.frame import Frame, Provenance
from nbcnnviz.synthesis.frame_buffer import FrameBuffer
from nbcnnviz.synthesis.from_nothing import class_model, deep_visualization, feature_visualization, synthesize
from nbcnnviz.synthesis.inversion import invert
from nbcnnviz.synthesis.recipe import Recipe, recipes

__all__ = [
    "Controls",
    "Fooled",
    "Frame",
    "FrameBuffer",
    "Objective",
    "Provenance",
    "Recipe",
    "channel",
    "class_model",
    "class_score",
    "deep_visualization",
    "direction",
    "diversity",
    "dream",
    "each",
    "feature_visualization",
    "fool",
    "invert",
    "layer_energy",
    "likeness",
    "recipes",
    "save_film",
    "synthesize",
    "to_array",
    "unit",
]


def __getattr__(name: str) -> object:
    if name == "Reel":
        warnings.warn("Reel is now FrameBuffer; the old name goes with version 0.2.", DeprecationWarning, stacklevel=2)
        return FrameBuffer
    raise AttributeError(f"module 'nbcnnviz.synthesis' has no attribute {name!r}")
