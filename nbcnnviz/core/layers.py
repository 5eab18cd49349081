"""What a network's layers are called, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass, field

from nbcnnviz.core.grids import Layout

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
        Of its output for one picture at the network's own input size, as the module returns it: (C, h, w) where its maps
        have their channels first, (h, w, C) where last, (T, C) where they are a sequence of tokens.
    parameters
        Names of the module's own parameters, as in ``named_parameters()``.
    channels_last
        Whether the output is (h, w, C), as within the blocks of ConvNeXt and Swin.
    layout
        Where the output has its channels and its places; None where that is not known, or there are none.
    spatial
        Whether the output is a stack of maps with more than one place. It was found by numbers: the batch is its first
        axis, it is another one for another picture, and what changes in one part of the picture changes that part of it.
    reason
        Why the layer has no maps, in words; empty where it has.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: tuple[str, ...] = ()
    channels_last: bool = False
    layout: Layout | None = field(default=None, compare=False, repr=False)
    spatial: bool = field(default=False, compare=False)
    reason: str = field(default="", compare=False, repr=False)

    @property
    def filters(self) -> int:
        """How many channels the output has; 0 where it is not known which axis they are."""
        if self.layout is not None:
            return self.layout.channels(self.shape)
        return self.shape[0] if len(self.shape) == 1 else 0

    @property
    def places(self) -> tuple[int, int] | None:
        """Rows and columns of the maps, at the network's own input size; None where there are none."""
        return None if self.layout is None else self.layout.places(self.shape)


def has_channels_last(kind: str, shape: tuple[int, ...], size: tuple[int, int], before: Layer | None) -> bool:
    """Whether an output of this shape, of a module of this class, is (h, w, C), for an input of ``size`` (H, W).

    A guess, for what numbers cannot tell, as it is the same whatever the picture. Modules named ``...2d`` put channels
    first. Others return what they were given, where the layer ``before`` them has the same shape. Where it has not, the
    axes are the places that have the input's proportions.
    """
    if len(shape) != 3 or kind.endswith("2d"):
        return False
    first, last = (abs(h * size[1] - w * size[0]) <= max(size) for h, w in (shape[1:], shape[:2]))
    if first == last and kind in _CHANNELS_LAST_KINDS:
        return True
    if before is not None and before.shape == shape:
        return before.channels_last
    return last and not first
