"""The numbers of a run that may be moved while it goes on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from nbcnnviz.core.errors import UnknownOptionError
from nbcnnviz.core.options import Option, option


def _control(default: float, *, high: float | None = None, help: str, unit: str = "") -> Any:
    """A number of zero or more, less than ``high``."""
    declared = option(default, low=0, high=high, help=help, unit=unit, below=high is not None)
    return field(default=default, metadata={"option": declared})


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

    learning_rate: float = _control(0.05, help="How far a step goes.")
    l2: float = _control(0.0, help="Weight of the penalty on the sum of squares of the picture, about the mean colour.")
    tv: float = _control(0.0, help="Weight of the penalty on the total variation: it keeps noise away.")
    decay: float = _control(0.0, high=1, help="The share of the picture that is lost at each step.")
    blur_every: int = _control(0, help="The picture is blurred after each so many steps; 0 for never.", unit="steps")
    blur_radius: float = _control(1.0, help="Standard deviation of the blur.", unit="pixels")
    clip_norm: float = _control(
        0.0, high=100, help="The share of pixels, the faintest, set to the mean colour at each step.", unit="%"
    )
    clip_contribution: float = _control(
        0.0, high=100, help="The share of pixels, those that add least to the score, set to the mean colour.", unit="%"
    )
    jitter: int = _control(8, help="The view moves by up to half as many pixels, at random.", unit="pixels")
    scale: float = _control(0.1, high=1, help="The view is magnified by a factor between 1 - this and 1 + this.")
    rotate: float = _control(10.0, help="The view is turned by up to so many degrees either way.", unit="degrees")
    jitter_after: int = _control(4, help="As jitter, after scaling and turning.", unit="pixels")
    wake: int = _control(
        16, help="For so many first steps dead rectifiers let through the gradient that wakes them.", unit="steps"
    )

    def __setattr__(self, name: str, value: Any) -> None:
        _check_name(name)
        object.__setattr__(self, name, CONTROLS[name].check(value))

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
    if name not in CONTROLS:
        raise UnknownOptionError(name, CONTROLS, f"The controls are {', '.join(CONTROLS)}.")


CONTROLS: dict[str, Option] = {f.name: replace(f.metadata["option"], name=f.name) for f in fields(Controls)}
"""What each control can be."""
