"""The numbers of a run that may be moved while it goes on."""

from __future__ import annotations

import warnings
from dataclasses import InitVar, asdict, dataclass, field, fields, replace
from typing import Any

from nbcnnviz.core.errors import UnknownOptionError
from nbcnnviz.core.options import Above, Option, option


def _control(default: float, *, high: float | None = None, **more: Any) -> Any:
    """A number of zero or more, less than ``high``."""
    declared = option(default, low=0, high=high, below=high is not None, **more)
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
    redirected_relu
        For so many first steps a ReLU that is zero everywhere passes on gradient all the same.
    """

    learning_rate: float = _control(0.05, help="How far a step goes.", typical=(1e-4, 100), log=True)
    l2: float = _control(
        0.0, help="Weight of the penalty on the sum of squares of the picture, about the mean colour: it keeps colours pale.",
        label="L2 penalty", typical=(0, 1e-6, 1), log=True,
    )  # fmt: skip
    tv: float = _control(
        0.0, help="Weight of the penalty on differences between neighbouring pixels: it keeps noise away.",
        label="Total variation penalty", typical=(0, 1e-8, 1), log=True,
    )  # fmt: skip
    decay: float = _control(
        0.0, high=1, help="The share of the picture that is lost at each step.", typical=(0, 1e-5, 0.5), log=True
    )
    blur_every: int = _control(
        0, help="The picture is blurred after each so many steps; 0 for never.", unit="steps", typical=(0, 20)
    )
    blur_radius: float = _control(
        1.0, help="Standard deviation of the blur.", unit="pixels", typical=(0, 5), when={"blur_every": Above(0)}
    )
    clip_norm: float = _control(
        0.0, high=100, help="The share of pixels, the faintest, set to the mean colour at each step.", unit="%",
        label="Clip small norm", typical=(0, 95),
    )  # fmt: skip
    clip_contribution: float = _control(
        0.0, high=100, help="The share of pixels, those that add least to the score, set to the mean colour.", unit="%",
        label="Clip small contribution", typical=(0, 95),
    )  # fmt: skip
    jitter: int = _control(
        8, help="At each step the network sees the picture moved by up to half as many pixels, at random.", unit="pixels",
        typical=(0, 64),
    )  # fmt: skip
    scale: float = _control(
        0.1, high=1, help="At each step it is magnified by a random factor between 1 - this and 1 + this.", label="Scaling",
        typical=(0, 0.5),
    )  # fmt: skip
    rotate: float = _control(
        10.0, help="At each step it is turned by up to so many degrees either way.", unit="degrees", label="Rotation",
        typical=(0, 45),
    )  # fmt: skip
    jitter_after: int = _control(
        4, help="As jitter, after scaling and rotation.", unit="pixels", label="Second jitter", typical=(0, 32)
    )
    redirected_relu: int = _control(
        16, unit="steps", label="Redirected ReLU", typical=(0, 64),
        help="For so many first steps a ReLU that is zero everywhere passes on gradient, or the picture could stay grey.",
    )  # fmt: skip
    wake: InitVar[int | None] = None

    def __post_init__(self, wake: int | None) -> None:
        if wake is not None:
            self.wake = wake

    def __getattr__(self, name: str) -> Any:
        return getattr(self, _current(name)) if name in _OLD else object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        name = _current(name)
        object.__setattr__(self, name, CONTROLS[name].check(value))

    @property
    def edits(self) -> bool:
        """Whether the picture is edited after a step."""
        return any((self.decay, self.blur_every and self.blur_radius, self.clip_norm, self.clip_contribution))

    def copy(self, **changes: Any) -> Controls:
        """Controls of the same numbers, but for ``changes``."""
        return Controls(**(asdict(self) | {_current(name): value for name, value in changes.items()}))


delattr(Controls, "wake")  # an instance's is found by `__getattr__`, with a warning
_OLD = {"wake": "redirected_relu"}


def _current(name: str) -> str:
    """The name of a control, where its old one may be given."""
    if name in _OLD:
        warnings.warn(f"{name} is now {_OLD[name]}; the old name goes with version 0.2.", DeprecationWarning, 4)
        return _OLD[name]
    if name not in CONTROLS:
        raise UnknownOptionError(name, CONTROLS, f"The controls are {', '.join(CONTROLS)}.")
    return name


CONTROLS: dict[str, Option] = {f.name: replace(f.metadata["option"], name=f.name) for f in fields(Controls)}
"""What each control can be."""
