"""Inside the network: what its units see, what its filters answer, what its weights are, and how all that varies with depth.

Plain numbers, for the explorer's panels and for scripts. Everything about a picture comes from a trace that is there
already, and costs no forward pass; but for `what_if`, which runs the network from a layer on.
"""

from nbcnnviz.inside.dead import DeadFilters
from nbcnnviz.inside.features import FeatureMaps, Place, Ranking, feature_maps, ranking, strongest
from nbcnnviz.inside.kernels import Weights, weights
from nbcnnviz.inside.links import Link, Links, reads, writes
from nbcnnviz.inside.projection import Projection, Switches, project
from nbcnnviz.inside.receptive import Box, Grid, ReceptiveFields, receptive_field, receptive_fields
from nbcnnviz.inside.statistics import Depth, Histogram, depth, histogram, histograms
from nbcnnviz.inside.what_if import WhatIf, what_if

__all__ = [
    "Box",
    "DeadFilters",
    "Depth",
    "FeatureMaps",
    "Grid",
    "Histogram",
    "Link",
    "Links",
    "Place",
    "Projection",
    "Ranking",
    "ReceptiveFields",
    "Switches",
    "Weights",
    "WhatIf",
    "depth",
    "feature_maps",
    "histogram",
    "histograms",
    "project",
    "ranking",
    "reads",
    "receptive_field",
    "receptive_fields",
    "strongest",
    "weights",
    "writes",
    "what_if",
]
