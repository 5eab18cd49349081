"""Pictures of other than one or three channels, multispectral ones, depth, stacks; and inputs that are preprocessed already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nbcnnviz.core.errors import ImageError, NbcnnvizError, NetworkError


class Bands(Image.Image):
    """A picture in red, green and blue that stands for an input of any number of channels.

    Attributes
    ----------
    input : Tensor
        What the network gets, (C, H, W).
    """

    input: Tensor

    @classmethod
    def of(cls, x: Tensor, shown: Image.Image) -> Bands:
        """The picture of an input (C, H, W), as ``shown``."""
        made = cls()
        made.__dict__.update(shown.__dict__)
        made.input = x
        return made

    def crop(self, box: Any = None) -> Image.Image:
        """As Pillow's; the input is cropped too, and scaled bilinearly to the size that it had."""
        shown = super().crop(box)
        left, top, right, bottom = box or (0, 0, *self.size)
        part = self.input[None, :, top:bottom, left:right]
        size = self.input.shape[1:]
        if part.shape[2:] != size:
            part = torch.nn.functional.interpolate(part, size, mode="bilinear", antialias=True)
        return Bands.of(part[0], shown)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bands) and torch.equal(self.input, other.input)

    __hash__ = None  # type: ignore[assignment]  # as Pillow's


def checked_bands(bands: int | Sequence[int] | None, channels: int) -> tuple[int, ...] | None:
    """The channels that are shown as red, green and blue, or the one that is shown in grey; NetworkError for others."""
    if bands is None:
        return None
    chosen = (bands,) if isinstance(bands, int) else bands
    right = isinstance(chosen, (tuple, list)) and len(chosen) in (1, 3)
    if not right or not all(isinstance(b, int) and 0 <= b < channels for b in chosen):
        raise NetworkError(
            f"bands are the channels shown as red, green and blue, or one shown in grey, from 0 to {channels - 1}: not {bands!r}."
        )
    return tuple(chosen)


def shown(x: Tensor, bands: tuple[int, ...]) -> Tensor:
    """Pixels (N, 3, H, W) of some channels of an input, each picture stretched from black to white over them."""
    x = x.detach().float()[:, list(bands)]
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return ((x - low) / (high - low).clamp_min(1e-12)).expand(-1, 3, -1, -1)


def as_input(what: Any, channels: int, preprocess: Callable[[Any], Tensor] | None = None) -> Tensor | None:
    """What is an input of a network with so many channels already, as (N, C, H, W); None for what is a picture.

    That is a tensor of four axes; an array of four axes; for a network of other than one or three channels a tensor or
    an array of three as well. A tensor has its channels before its places, an array behind, where both would fit.
    ``preprocess``, of the user's own, is applied to arrays and tensors of three axes.
    """
    if isinstance(what, Bands):
        return what.input[None]
    if isinstance(what, Tensor) and what.ndim == 4:
        return what
    if not isinstance(what, (Tensor, np.ndarray)) or what.ndim not in (3, 4):
        return None
    if what.ndim == 3 and channels in (1, 3):
        return None
    if what.ndim == 3 and preprocess is not None:
        return prepared(preprocess, what, channels)[None]
    return _channels_first(what if isinstance(what, Tensor) else _tensor(what), channels, not isinstance(what, Tensor))


def prepared(preprocess: Callable[[Any], Tensor], what: Any, channels: int) -> Tensor:
    """What a preprocess of the user's own makes of an array of many channels, (C, H, W)."""
    try:
        x = preprocess(what)
    except NbcnnvizError:
        raise
    except Exception as error:  # the user's code may raise anything
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ImageError(
            f"The network's preprocess failed on an array of shape {tuple(what.shape)}: {reason}"
        ) from error
    if not isinstance(x, Tensor) or x.ndim != 3 or len(x) != channels:
        made = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
        raise ImageError(f"The network's preprocess made {made} of an array: it must return ({channels}, H, W).")
    return x


def _channels_first(x: Tensor, channels: int, prefer_last: bool) -> Tensor:
    x = x if x.ndim == 4 else x[None]
    first, last = x.shape[1] == channels, x.shape[3] == channels
    if not first and not last:
        raise ImageError(
            f"Shape {tuple(x.shape[1:])} has no axis of {channels} channels: this network takes ({channels}, H, W), or "
            f"(H, W, {channels})."
        )
    return x.permute(0, 3, 1, 2) if last and (prefer_last or not first) else x


def _tensor(array: np.ndarray) -> Tensor:
    if array.dtype.kind not in "biuf":
        raise ImageError(f"The array holds {array.dtype} values: pixels are integers or floating-point numbers.")
    wide = array if array.dtype == np.float64 else array.astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(wide))
