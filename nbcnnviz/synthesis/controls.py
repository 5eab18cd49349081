"""The numbers of a run that may be moved while it goes on."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from nbcnnviz.core.errors import UnknownOptionError


@dataclass(kw_only=True)
class Controls:
    """What a run reads anew at every step; set an attribute, from any thread, and the next step follows.

    Zero switches off everything but the learning rate.

    Attributes
    ----------
    learning_rate
        How far a step goes.
    l2
        Weight of the penalty on the sum of squares of the picture, about the mean colour.
    tv
        Weight of the penalty on the total variation: the sum over pixels of the length of the colour's slope.
    decay
        The share of the picture, about the mean colour, that is lost at each step.
    blur_every, blur_radius
        Every so many steps the picture is blurred by a Gaussian of this standard deviation in pixels.
    clip_norm
        The percentage of pixels, those of the smallest norm, that is set to the mean colour at each step.
    clip_contribution
        The same for the pixels that contribute least to the score, by ``|sum over channels of x dS/dx|``.
    jitter
        The network's view is cut from the picture up to half as many pixels off its centre, at random.
    scale
        The view is magnified by a factor between ``1 - scale`` and ``1 + scale``.
    rotate
        The view is turned by up to so many degrees either way.
    jitter_after
        As ``jitter``, after scaling and turning.
    wake
        For so many first steps a wholly dead rectifier lets through the gradient that would wake it.
    """

    learning_rate: float = 0.05
    l2: float = 0.0
    tv: float = 0.0
    decay: float = 0.0
    blur_every: int = 0
    blur_radius: float = 1.0
    clip_norm: float = 0.0
    clip_contribution: float = 0.0
    jitter: int = 8
    scale: float = 0.1
    rotate: float = 10.0
    jitter_after: int = 4
    wake: int = 16

    def __setattr__(self, name: str, value: Any) -> None:
        _check_name(name)
        if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
            raise UnknownOptionError(value, (), f"{name} is a finite number, zero or more.")
        if name in _BELOW and value >= _BELOW[name]:
            raise UnknownOptionError(value, (), f"{name} is less than {_BELOW[name]}.")
        object.__setattr__(self, name, int(value) if _KINDS[name] == "int" else float(value))

    @property
    def edits(self) -> bool:
        """Whether the picture is edited after a step."""
        return any((self.decay, self.blur_every and self.blur_radius, self.clip_norm, self.clip_contribution))

    def copy(self, **changes: Any) -> Controls:
        """Controls of the same numbers, but for ``changes``."""
        for name in changes:
            _check_name(name)
        return Controls(**(asdict(self) | changes))


def _check_name(name: str) -> None:
    if name not in _KINDS:
        raise UnknownOptionError(name, _KINDS, f"The controls are {', '.join(_KINDS)}.")


_KINDS = {f.name: f.type for f in fields(Controls)}
_BELOW = {"scale": 1, "decay": 1, "clip_norm": 100, "clip_contribution": 100}
