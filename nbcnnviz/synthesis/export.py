"""A run as a film, as an array, as whatever the ending of a file's name says."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from nbcnnviz.core.errors import ExportError
from nbcnnviz.synthesis.frame import Frame
from nbcnnviz.synthesis.frame_buffer import FrameBuffer

LONGEST = 150
"""Frames of a film of a whole run; of a longer one every second or third ... is taken."""

FILMS = ("gif", "webp", "mp4")
PICTURES = ("png", "jpg", "jpeg", "bmp", "tif", "tiff")


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


def write_run(path: Path, run: FrameBuffer, at: int, code: str) -> None:
    """Write a run by the ending of the name: a picture of the frame ``at``, a film, an array, or code."""
    ending = path.suffix.lower().removeprefix(".")
    try:
        if ending in PICTURES:
            run[at].save(path)
        elif ending in FILMS:
            save_film(run, path, every=-(-len(run) // LONGEST))
        elif ending == "npz":
            _write_arrays(path, run, code)
        elif ending == "py":
            path.write_text(code + "\n", encoding="utf-8")
        else:
            raise ExportError(
                f"A run is saved as a picture (png, jpg ...), a film ({', '.join(FILMS)}), an array (npz) or code (py), "
                f"not as {path.suffix or 'a name without an ending'!r}."
            )
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror or error}.") from error


def _write_arrays(path: Path, run: FrameBuffer, code: str) -> None:
    """``frames`` (T, H, W, 3) uint8, with ``steps``, ``scores`` (T, N), ``gradient_norms`` and the ``code``."""
    scores: list[tuple[float, ...]] = []
    gradients: list[float] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("frames.npy", "w", force_zip64=True) as file:  # one after the other: they are many
            for frame in run:
                picture = frame.array
                if not scores:
                    header = {"descr": "|u1", "fortran_order": False, "shape": (len(run), *picture.shape)}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(np.ascontiguousarray(picture).tobytes())
                scores.append(frame.scores)
                gradients.append(frame.gradient_norm)
        numbers = {"steps": run.steps, "scores": scores, "gradient_norms": gradients, "code": code}
        for name, values in numbers.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.asanyarray(values), allow_pickle=False)


def file_content(name: str, run: FrameBuffer, at: int, code: str) -> bytes:
    """What a file of this name holds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write_run(path, run, at, code)
        return path.read_bytes()


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
