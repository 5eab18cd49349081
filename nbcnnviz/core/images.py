"""Pictures in: anything a user may call an image becomes an upright 8-bit RGB ``PIL.Image``."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from nbcnnviz.core.errors import ImageError, nearest
from nbcnnviz.core.samples import is_sample, sample, samples

MAX_PIXELS = 100_000_000
"""The largest picture that is opened, in pixels; a bigger one takes over 300 MB once decoded."""


def load_image(source: Any, *, bits: int | None = None) -> Image.Image:
    """Open a picture.

    Parameters
    ----------
    source
        A sample's name (see `samples`), a path, the bytes of a file, an open file, a ``PIL.Image``, an array of shape
        (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or a tensor of shape (H, W) or (C, H, W) with C in 1, 3, 4.
        Floating-point pixels lie in [0, 1].
    bits
        How many bits integer pixels of more than 8 have: white is ``2**bits - 1``. Default: the fewest of 8, 10, 12, 14
        and 16 that hold the largest pixel (cameras and scanners put 12 bits into 16); where those are fewer than 16, a
        warning says so, since a dark picture of 16 bits looks the same.

    Returns
    -------
    PIL.Image.Image
        RGB, 8 bits, turned upright after its EXIF orientation, laid on white where it was transparent.

    Raises
    ------
    ImageError
        If it is no picture, is broken, has no pixels or more than `MAX_PIXELS`, holds NaN or infinity, or integers of
        more than ``bits``.
    """
    if bits is not None and not (isinstance(bits, int) and 1 <= bits <= 16):
        raise ImageError(f"Pixels have 1 to 16 bits, not {bits!r}.")
    if isinstance(source, Image.Image):
        return _to_rgb(source, "the picture", bits)
    if isinstance(source, torch.Tensor):
        return _from_array(_channels_last(source.detach().to("cpu")), "the tensor", bits)
    if isinstance(source, np.ndarray):
        return _from_array(source, "the array", bits)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _open(io.BytesIO(bytes(source)), "the bytes", bits)
    if isinstance(source, (str, os.PathLike)):
        return _from_path(source, bits)
    if hasattr(source, "read"):
        return _open(source, "the file", bits)
    raise ImageError(
        f"A {type(source).__name__} is no picture: give a path, bytes, a PIL image, an array, a tensor or the name of "
        f"a sample ({', '.join(samples())})."
    )


def _from_path(source: str | os.PathLike[str], bits: int | None) -> Image.Image:
    if is_sample(source):
        with _decoding(f"the sample {source!r}"):
            return sample(str(source)).picture
    path = _file(source)
    if path is None:
        near = nearest(str(source), samples())
        raise ImageError(
            f"There is no file {str(source)!r}"
            + (f", and no sample of that name; nearest sample: {', '.join(near)}." if near else ".")
        )
    with _decoding(f"{path.name!r}"), path.open("rb") as file:
        return _open(file, f"{path.name!r}", bits)


def _file(source: str | os.PathLike[str]) -> Path | None:
    """The file at a path, None if there is none, or the path is none."""
    try:
        path = Path(source).expanduser()
        return path if path.is_file() else None
    except (OSError, RuntimeError):  # a name too long, no such user's home
        return None


def _open(file: Any, what: str, bits: int | None) -> Image.Image:
    with _decoding(what):
        return _to_rgb(Image.open(file), what, bits)


@contextmanager
def _decoding(what: str) -> Iterator[None]:
    """Turn what a decoder raises into an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(_too_large(what)) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{_capital(what)} is not a picture in a format that can be read (PNG, JPEG, WebP, GIF, TIFF, BMP ...)."
        ) from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, ValueError ...
        raise ImageError(f"{_capital(what)} is broken or truncated ({error}): save or copy it again.") from error


def _check_size(size: tuple[int, int], what: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise ImageError(_too_large(what, f" ({width} x {height})"))
    if width * height == 0:
        raise ImageError(f"{_capital(what)} has no pixels ({width} x {height}).")


def _too_large(what: str, size: str = "") -> str:
    return f"{_capital(what)}{size} has more than {MAX_PIXELS // 1_000_000} million pixels: make it smaller first."


def _to_rgb(picture: Image.Image, what: str, bits: int | None) -> Image.Image:
    _check_size(picture.size, what)
    with _decoding(what):  # a picture that is open is not yet read
        picture = ImageOps.exif_transpose(picture)
        if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
            return _from_array(_deep_pixels(picture), what, bits)
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        return picture.convert("RGB")


def _deep_pixels(picture: Image.Image) -> np.ndarray:
    """The pixels of a mode with more than 8 bits, which Pillow would clip at 255 and numpy scales."""
    pixels = np.asarray(picture)
    if picture.mode == "I":
        deepest = int(pixels.max(initial=0))
        return pixels.clip(0).astype(np.uint16) if deepest < 2**16 else pixels.clip(0) / deepest
    return pixels


def _channels_last(tensor: torch.Tensor) -> np.ndarray:
    if tensor.ndim == 3 and tensor.shape[0] in (1, 3, 4):
        tensor = tensor.permute(1, 2, 0)
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _from_array(pixels: np.ndarray, what: str, bits: int | None) -> Image.Image:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise ImageError(
            f"{_capital(what)} of shape {tuple(pixels.shape)} is no picture: its shape must be (H, W), "
            "(H, W, 3) or (H, W, 4), a tensor's (H, W) or (C, H, W)."
        )
    _check_size((pixels.shape[1], pixels.shape[0]), what)
    return _to_rgb(Image.fromarray(_to_bytes(pixels, what, bits)), what, None)


def _to_bytes(pixels: np.ndarray, what: str, bits: int | None) -> np.ndarray:
    """8-bit pixels, from floats in [0, 1] or integers of some bits."""
    if bits is not None and pixels.dtype.kind in "iu":
        return _scaled(pixels, what, bits)
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    if pixels.dtype == np.uint16:
        return _scaled(pixels, what, _bits_of(pixels, what))
    if pixels.dtype.kind not in "iuf":
        raise ImageError(
            f"{_capital(what)} holds {pixels.dtype} values: pixels are integers or floating-point numbers."
        )
    low, high = float(pixels.min()), float(pixels.max())
    if not np.isfinite([low, high]).all():
        raise ImageError(f"{_capital(what)} holds NaN or infinite pixels: mend them first, with numpy.nan_to_num say.")
    if np.issubdtype(pixels.dtype, np.floating):
        if low < -1e-6 or high > 1 + 1e-6:
            raise ImageError(
                f"{_capital(what)} has floating-point pixels from {low:.3g} to {high:.3g}: they must lie in "
                "[0, 1]. Give a preprocessed batch as a (N, C, H, W) tensor."
            )
        return (pixels.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    if low < 0 or high > 255:
        raise ImageError(
            f"{_capital(what)} has integer pixels from {low:.0f} to {high:.0f}: they must lie in 0 .. 255, or be "
            "of type uint16; or say how many bits they have, load_image(..., bits=12)."
        )
    return pixels.astype(np.uint8)


def _bits_of(pixels: np.ndarray, what: str) -> int:
    """The fewest usual bits that hold the largest pixel; a warning where that is a guess."""
    deepest = int(pixels.max(initial=0))
    bits = next(b for b in (8, 10, 12, 14, 16) if deepest < 2**b)
    if bits < 16 and deepest > 0:
        warnings.warn(
            f"{_capital(what)} has pixels of 16 bits up to {deepest} only: taken for {bits} bits, white at {2**bits - 1}. "
            f"If it is a dark picture of 16 bits, say load_image(..., bits=16); else bits={bits}.",
            stacklevel=2,
        )
    return bits


def _scaled(pixels: np.ndarray, what: str, bits: int) -> np.ndarray:
    """8-bit pixels of integers from 0 to ``2**bits - 1``."""
    white = 2**bits - 1
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0 or high > white:
        raise ImageError(f"{_capital(what)} has pixels from {low} to {high}, which are more than {bits} bits hold.")
    eight: np.ndarray = (pixels.astype(np.uint32) * 255 // white).astype(np.uint8)
    return eight


def _capital(what: str) -> str:
    return what[:1].upper() + what[1:]
