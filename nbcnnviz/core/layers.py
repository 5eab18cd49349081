"""What a network's layers are called, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass

# Modules that work over the last axis, as a rule: what they return in four dimensions has its channels there.
_CHANNELS_LAST_KINDS = frozenset({"Linear", "LayerNorm"})


@dataclass(frozen=True)
class Layer:
    """One call of one module.

    Attributes
    ----------
    name
        The module's name in ``named_modules()``; with ``:call`` behind it where the module is called several times.
    kind
        The module's class.
    shape
        Of its output for one picture at the network's own input size: (C, h, w) where it is a map.
    parameters
        Names of the module's own parameters, as in ``named_parameters()``.
    channels_last
        Whether the output is (h, w, C), as within the blocks of ConvNeXt and Swin.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: tuple[str, ...] = ()
    channels_last: bool = False

    @property
    def spatial(self) -> bool:
        """Whether the output is a stack of maps, (C, h, w) with more than one place."""
        return len(self.shape) == 3 and self.shape[1] * self.shape[2] > 1 and not self.channels_last

    @property
    def filters(self) -> int:
        """How many channels the output has."""
        return self.shape[-1 if self.channels_last else 0] if self.shape else 0


def has_channels_last(kind: str, shape: tuple[int, ...], size: tuple[int, int], before: Layer | None) -> bool:
    """Whether an output of this shape, of a module of this class, is (h, w, C), for an input of ``size`` (H, W).

    Modules named ``...2d`` put channels first. Others return what they were given, where the layer ``before`` them has
    the same shape. Where it has not, the axes are the places that have the input's proportions.
    """
    if len(shape) != 3 or kind.endswith("2d"):
        return False
    first, last = (abs(h * size[1] - w * size[0]) <= max(size) for h, w in (shape[1:], shape[:2]))
    if first == last and kind in _CHANNELS_LAST_KINDS:
        return True
    if before is not None and before.shape == shape:
        return before.channels_last
    return last and not first
