"""What is asked about: one vocabulary of targets, for explaining, for gradient ascent and for measuring."""

from nbcnnviz.core.targets.asked import (
    Function,
    TargetLike,
    as_target,
    in_python,
    one_class,
    same_target,
    scores_of_target,
)
from nbcnnviz.core.targets.base import Combination, Operation, Target, layer_named, whole_number
from nbcnnviz.core.targets.batches import Diversity, Each
from nbcnnviz.core.targets.kinds import (
    Channel,
    ClassScore,
    Direction,
    Finer,
    LayerEnergy,
    Likeness,
    Probability,
    Unit,
    channel_of,
)
from nbcnnviz.core.targets.regions import BoxScore, RegionScore, Similarity

__all__ = [
    "BoxScore",
    "Channel",
    "ClassScore",
    "Combination",
    "Direction",
    "Diversity",
    "Each",
    "Finer",
    "Function",
    "LayerEnergy",
    "Likeness",
    "Operation",
    "Probability",
    "RegionScore",
    "Similarity",
    "Target",
    "TargetLike",
    "Unit",
    "as_target",
    "channel_of",
    "in_python",
    "layer_named",
    "one_class",
    "same_target",
    "scores_of_target",
    "whole_number",
]
