"""Many pictures: what makes each filter fire, and maps in bulk; on this machine or on a cluster."""

from nbcnnviz.dataset.bundled import datasets
from nbcnnviz.dataset.card import UnitCard, unit_card
from nbcnnviz.dataset.many import AttributionStore, attribute_many
from nbcnnviz.dataset.measuring import Measured, measure_many
from nbcnnviz.dataset.patches import LayerPatches, Patch, TopPatches
from nbcnnviz.dataset.scanning import scan
from nbcnnviz.dataset.seeing import SeenPatch, seen_patch
from nbcnnviz.dataset.sources import Source, source_of

__all__ = [
    "AttributionStore",
    "LayerPatches",
    "Measured",
    "Patch",
    "SeenPatch",
    "Source",
    "TopPatches",
    "UnitCard",
    "attribute_many",
    "datasets",
    "measure_many",
    "scan",
    "seen_patch",
    "source_of",
    "unit_card",
]
