"""What a network's layers are called, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass

# Modules that work over the last axis: what they return in four dimensions has its channels there.
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
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: tuple[str, ...] = ()

    @property
    def spatial(self) -> bool:
        """Whether the output is a stack of maps, (C, h, w) with more than one place."""
        return len(self.shape) == 3 and self.shape[1] * self.shape[2] > 1 and not self.channels_last

    @property
    def channels_last(self) -> bool:
        """Whether the output is (h, w, C), as within the blocks of ConvNeXt and Swin."""
        if len(self.shape) != 3:
            return False
        first, second, last = self.shape
        return self.kind in _CHANNELS_LAST_KINDS or (first == second != last and second > 1)

    @property
    def filters(self) -> int:
        """How many channels the output has."""
        return self.shape[-1 if self.channels_last else 0] if self.shape else 0
