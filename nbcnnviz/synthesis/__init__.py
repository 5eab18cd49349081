"""Pictures made by gradient ascent, as generators of frames: what a network wants to see.

`synthesize` takes every choice apart; the others are named recipes with a source. What is raised is a class, or any
target of `nbcnnviz`.
"""

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
from nbcnnviz.synthesis.from_nothing import class_model, deep_visualization, feature_visualization, synthesize
from nbcnnviz.synthesis.inversion import invert
from nbcnnviz.synthesis.recipe import Recipe, recipes
from nbcnnviz.synthesis.reel import Reel

__all__ = [
    "Controls",
    "Fooled",
    "Frame",
    "Objective",
    "Provenance",
    "Recipe",
    "Reel",
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
