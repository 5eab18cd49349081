"""nbcnnviz: see a convolutional network think, in a notebook."""

from __future__ import annotations

import importlib

from nbcnnviz.attribution import Attribution, Mask, Method, attribute, class_maps, method, methods, segment
from nbcnnviz.core.errors import (
    ArgumentTypeError,
    CompletenessError,
    DeviceUnavailableError,
    EngineError,
    ExportError,
    FilterRangeError,
    GradientError,
    ImageError,
    MethodNotApplicableError,
    NameTakenError,
    NbcnnvizError,
    NetworkError,
    NoMapsError,
    OptionValueError,
    PackageMissingError,
    ScanError,
    StaleTraceError,
    SynthesisError,
    UnknownClassError,
    UnknownLayerError,
    UnknownMethodError,
    UnknownNameError,
    UnknownNetworkError,
    UnknownOptionError,
    WeightsUnavailableError,
)
from nbcnnviz.core.images import load_image
from nbcnnviz.core.layers import Layer
from nbcnnviz.core.network import Network
from nbcnnviz.core.options import Option, option
from nbcnnviz.core.preprocess import Preprocess
from nbcnnviz.core.samples import Composed, ObjectBox, composed, sample_boxes, samples
from nbcnnviz.core.targets import (
    BoxScore,
    Channel,
    ClassScore,
    Combination,
    Direction,
    Diversity,
    Each,
    Finer,
    Function,
    LayerEnergy,
    Likeness,
    Probability,
    RegionScore,
    Similarity,
    Target,
    Unit,
)
from nbcnnviz.core.trace import ALL_LAYERS, ALL_PARAMETERS, Trace
from nbcnnviz.dataset import AttributionStore, TopPatches, UnitCard, attribute_many, scan, unit_card
from nbcnnviz.inside import WhatIf, what_if
from nbcnnviz.synthesis import (
    class_model,
    deep_visualization,
    dream,
    feature_visualization,
    fool,
    invert,
    recipes,
    save_film,
    synthesize,
)
from nbcnnviz.training import Watch, watch
from nbcnnviz.zoo import load_network, networks

__version__ = "0.1.0"

__all__ = [
    "BoxScore",
    "RegionScore",
    "Similarity",
    "AttributionStore",
    "EngineError",
    "ScanError",
    "TopPatches",
    "UnitCard",
    "attribute_many",
    "scan",
    "ALL_LAYERS",
    "ALL_PARAMETERS",
    "ArgumentTypeError",
    "Attribution",
    "Channel",
    "ClassScore",
    "Combination",
    "Composed",
    "DeviceUnavailableError",
    "Direction",
    "Diversity",
    "Each",
    "ExportError",
    "FilterRangeError",
    "Finer",
    "Function",
    "GradientError",
    "ImageError",
    "Layer",
    "LayerEnergy",
    "Likeness",
    "Mask",
    "Method",
    "CompletenessError",
    "MethodNotApplicableError",
    "NameTakenError",
    "NbcnnvizError",
    "Network",
    "NetworkError",
    "NoMapsError",
    "ObjectBox",
    "Option",
    "OptionValueError",
    "PackageMissingError",
    "Preprocess",
    "Probability",
    "StaleTraceError",
    "SynthesisError",
    "Target",
    "Trace",
    "Unit",
    "UnknownClassError",
    "UnknownLayerError",
    "UnknownMethodError",
    "UnknownNameError",
    "UnknownNetworkError",
    "UnknownOptionError",
    "Watch",
    "WhatIf",
    "WeightsUnavailableError",
    "attribute",
    "class_maps",
    "class_model",
    "composed",
    "deep_visualization",
    "dream",
    "explore",
    "feature_visualization",
    "fool",
    "invert",
    "load_image",
    "load_network",
    "method",
    "methods",
    "networks",
    "option",
    "recipes",
    "sample_boxes",
    "samples",
    "save_film",
    "segment",
    "synthesize",
    "unit_card",
    "watch",
    "what_if",
]


def __getattr__(name: str) -> object:
    # The widget libraries are loaded with the widget: a script or a cluster worker does without them.
    if name in ("explore", "Explorer"):
        from nbcnnviz import explorer

        return getattr(explorer, name)
    if name == "teaching":
        teaching = importlib.import_module("nbcnnviz.teaching")
        teaching.Work.screen = _form
        return teaching
    if name == "metrics":
        return importlib.import_module("nbcnnviz.metrics")
    raise AttributeError(f"module 'nbcnnviz' has no attribute {name!r}")


def _screen(watch: Watch) -> object:
    """The widget that shows a watch."""
    from nbcnnviz.explorer.watching import WatchPanel

    return WatchPanel(watch)


def _form(work: object) -> object:
    """The widget that shows what a notebook asks for."""
    from nbcnnviz.explorer.handing_in import HandInForm

    return HandInForm(work)  # type: ignore[arg-type]


Watch.screen = _screen
