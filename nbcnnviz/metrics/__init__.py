"""Judging a map: what it predicts, what it points at, and what it depends on.

No number here is a verdict: rankings by one metric contradict those by another, and some reward blur. Each result says
what it measures in a sentence, and what chance would give where that is known.
"""

from nbcnnviz.metrics.agreement import agreement, rank_correlation
from nbcnnviz.metrics.curves import Curve, deletion, insertion, road
from nbcnnviz.metrics.faithfulness import completeness, infidelity, sensitivity
from nbcnnviz.metrics.pointing import Mosaic, grid_pointing, mosaic, pointing
from nbcnnviz.metrics.sanity import Stage, cascade, sanity
from nbcnnviz.metrics.score import Score

__all__ = [
    "Curve",
    "Mosaic",
    "Score",
    "Stage",
    "agreement",
    "cascade",
    "completeness",
    "deletion",
    "grid_pointing",
    "infidelity",
    "insertion",
    "mosaic",
    "pointing",
    "rank_correlation",
    "road",
    "sanity",
    "sensitivity",
]
