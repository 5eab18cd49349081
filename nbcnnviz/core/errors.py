"""What can go wrong, each as a named type whose message says what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class NbcnnvizError(Exception):
    """The parent of every error this package raises on purpose."""


class ArgumentTypeError(NbcnnvizError, TypeError):
    """An argument is of a type that cannot be meant."""


class ImageError(NbcnnvizError, ValueError):
    """The picture cannot be read, or cannot be given to this network."""


class NetworkError(NbcnnvizError, ValueError):
    """The module cannot be used as a classifier of pictures."""


class WeightsUnavailableError(NbcnnvizError, RuntimeError):
    """The weights asked for are neither on this machine nor within reach."""


class PackageMissingError(NbcnnvizError, ImportError):
    """Something needs a package that is not installed."""

    def __init__(self, package: str, what: str, extra: str) -> None:
        super().__init__(f"{what[:1].upper()}{what[1:]} need {package}: pip install 'nbcnnviz[{extra}]'.")


class DeviceUnavailableError(NbcnnvizError, ValueError):
    """The device asked for does not exist on this machine."""


class GradientError(NbcnnvizError, ValueError):
    """The gradient asked for does not exist, or can no longer be computed."""


class NoGradientError(GradientError):
    """Nothing of what the gradient is asked for leads to the target."""


class StaleTraceError(GradientError):
    """The network's weights changed since the trace was made."""


class MethodNotApplicableError(NbcnnvizError, ValueError):
    """The method has no meaning for this network, layer or target."""


class NoMapsError(MethodNotApplicableError):
    """The layer returns no maps."""


class CompletenessError(MethodNotApplicableError):
    """A map's sum is not the change of the score that it promises to account for."""


class UnknownNameError(NbcnnvizError, LookupError):
    """A name that is not among the valid ones; the message lists the nearest."""

    kind = "name"

    def __init__(self, name: object, choices: Iterable[str], hint: str = "") -> None:
        self.name = name
        self.near = nearest(str(name), choices)
        near = f" Nearest: {', '.join(self.near)}." if self.near else ""
        super().__init__(f"There is no {self.kind} {name!r}.{near}{' ' + hint if hint else ''}")


class UnknownNetworkError(UnknownNameError):
    """No network goes by this name."""

    kind = "network"


class UnknownLayerError(UnknownNameError):
    """The network has no layer, or no parameter, of this name."""

    kind = "layer"


class UnknownClassError(UnknownNameError):
    """The network has no class of this name or index."""

    kind = "class"


class UnknownMethodError(UnknownNameError):
    """No method goes by this name."""

    kind = "method"


class UnknownOptionError(UnknownNameError):
    """The method has no option of this name, or the option no such value."""

    kind = "option"


class OptionValueError(UnknownOptionError, ValueError):
    """The option has no such value; the message says what it can be.

    Attributes
    ----------
    name : str
        The option.
    """

    def __init__(self, message: str, name: str = "") -> None:
        Exception.__init__(self, message)
        self.name = name
        self.near: list[str] = []


class NameTakenError(NbcnnvizError, ValueError):
    """Another method or recipe goes by this name already."""


class FilterRangeError(NbcnnvizError, IndexError):
    """A filter or a unit outside the layer's output."""


class SynthesisError(NbcnnvizError, ArithmeticError):
    """A picture made by gradient ascent went out of bounds.

    Attributes
    ----------
    step : int
        The step at which it did.
    frame : Frame or None
        The last good frame.
    """

    def __init__(self, message: str, step: int, frame: Any = None) -> None:
        super().__init__(message)
        self.step = step
        self.frame = frame


class ExportError(NbcnnvizError, RuntimeError):
    """What was asked for cannot be written to a file."""


class ScanError(NbcnnvizError, ValueError):
    """Results over many pictures that do not go together, or a file that is none."""


class EngineError(NbcnnvizError, RuntimeError):
    """The cluster cannot be used, or its workers failed."""


def nearest(name: str, choices: Iterable[str], n: int = 3) -> list[str]:
    """The ``n`` choices most like ``name``: those that contain it first, then by spelling."""
    choices = list(dict.fromkeys(choices))
    word = name.lower()
    containing = [c for c in choices if word and word in c.lower()]
    folded = {c.lower(): c for c in choices}
    alike = [folded[c] for c in get_close_matches(word, folded, n=n, cutoff=0.4)]
    return list(dict.fromkeys(sorted(containing, key=len)[:n] + alike))[:n]


def first_sentence(error: BaseException) -> str:
    """The first line of an error's text, or its class."""
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__).rstrip(".") + "."
