"""A run as a film, or as an array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from nbcnnviz.core.errors import ExportError
from nbcnnviz.synthesis.frame import Frame


def to_array(frames: Iterable[Frame], every: int = 1) -> np.ndarray:
    """The pictures of a run, (T, H, W, 3) uint8; several pictures side by side.

    Parameters
    ----------
    every
        Only each so manieth frame, and the last.
    """
    pictures = [frame.array for frame in _some(frames, every)]
    if not pictures:
        raise ExportError("There is no frame to be written: the run is over, or was closed.")
    return np.stack(pictures)


def save_film(frames: Iterable[Frame], path: str | PathLike[str], *, fps: float = 20, every: int = 1) -> None:
    """Write a run as a film that repeats: ``.gif``, ``.webp`` or ``.mp4``, by the ending of the name.

    Parameters
    ----------
    frames
        A run, which is gone through to its end; or a list of frames.
    fps
        Frames a second. Default: 20.
    every
        Only each so manieth frame, and the last.

    Raises
    ------
    ExportError
        If the ending is none of these, there is no frame, or the encoder for MP4 is not installed.
    """
    kind = Path(path).suffix.lower()
    if kind not in (".gif", ".webp", ".mp4"):
        raise ExportError(f"A film is a .gif, .webp or .mp4, not {kind or 'a name without an ending'!r}.")
    if kind == ".mp4":
        _check_encoder()
    film = to_array(frames, every)
    if kind == ".mp4":
        _write_mp4(film, path, fps)
        return
    first, *others = (Image.fromarray(picture) for picture in film)
    first.save(path, save_all=True, append_images=others, duration=round(1000 / fps), loop=0, quality=90)


def _some(frames: Iterable[Frame], every: int) -> Iterator[Frame]:
    skipped = None
    for number, frame in enumerate(frames):
        if number % every == 0:
            yield frame
        skipped = frame if number % every else None
    if skipped is not None:
        yield skipped


def _check_encoder() -> None:
    if find_spec("imageio_ffmpeg") is None:
        raise ExportError(
            "MP4 needs an encoder that is not installed: pip install imageio-ffmpeg, or write a .webp or a .gif."
        )


def _write_mp4(film: np.ndarray, path: str | PathLike[str], fps: float) -> None:
    import imageio.v3 as imageio

    # Players want even sides.
    film = np.pad(film, ((0, 0), (0, film.shape[1] % 2), (0, film.shape[2] % 2), (0, 0)), mode="edge")
    imageio.imwrite(Path(path), film, plugin="FFMPEG", fps=fps, codec="libx264", quality=8, macro_block_size=2)
