"""What a panel that looks at gradients asks the gradient of: which target, in Python, and whether it is the same still."""

from __future__ import annotations

from typing import Any

from nbcnnviz.core.targets import ClassScore, Target, as_target
from nbcnnviz.core.trace import Trace


def resolved(asked: Any, trace: Trace) -> Target:
    """A target, with the class's index where it is one class of all pictures."""
    target = as_target(asked, trace)
    if isinstance(target, ClassScore) and isinstance(target.index, tuple) and len(set(target.index)) == 1:
        return ClassScore(target.index[0])
    return target


def same(one: Any, other: Any) -> bool:
    """Whether two targets ask the same: equal ones of ours, the very same of the user's."""
    return one is other or (type(one) is type(other) and type(one).__module__.startswith("nbcnnviz.") and one == other)
