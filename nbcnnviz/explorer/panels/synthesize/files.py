"""A run taken away: its pictures, its film, its numbers, and the code that makes it again."""

from __future__ import annotations

import re
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from nbcnnviz.core.errors import ExportError
from nbcnnviz.explorer.panels.synthesize.run import Run, Specification
from nbcnnviz.session.code import network_code, picture_code
from nbcnnviz.synthesis import Frame, FrameBuffer, save_film

LONGEST = 150
"""Frames of a film; of a longer run every second or third ... is taken."""

FILMS = ("gif", "webp", "mp4")
PICTURES = ("png", "jpg", "jpeg", "bmp", "tif", "tiff")
AT_ONCE = ("png", "npz", "py")
"""What takes no time to write; films the panel writes on its own thread."""


def write(path: Path, reel: FrameBuffer, at: int, code: str) -> None:
    """Write a run by the ending of the name: a picture of the frame ``at``, a film, an array, or code."""
    ending = path.suffix.lower().removeprefix(".")
    try:
        if ending in PICTURES:
            reel[at].save(path)
        elif ending in FILMS:
            save_film(reel, path, every=-(-len(reel) // LONGEST))
        elif ending == "npz":
            write_array(path, reel, code)
        elif ending == "py":
            path.write_text(code + "\n", encoding="utf-8")
        else:
            raise ExportError(
                f"A run is saved as a picture (png, jpg ...), a film ({', '.join(FILMS)}), an array (npz) or code (py), "
                f"not as {path.suffix or 'a name without an ending'!r}."
            )
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror or error}.") from error


def write_array(path: Path, reel: FrameBuffer, code: str) -> None:
    """``frames`` (T, H, W, 3) uint8, with ``steps``, ``scores`` (T, N), ``gradient_norms`` and the ``code``."""
    scores: list[tuple[float, ...]] = []
    gradients: list[float] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("frames.npy", "w", force_zip64=True) as file:  # one after the other: they are many
            for frame in reel:
                picture = frame.array
                if not scores:
                    header = {"descr": "|u1", "fortran_order": False, "shape": (len(reel), *picture.shape)}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(np.ascontiguousarray(picture).tobytes())
                scores.append(frame.scores)
                gradients.append(frame.gradient_norm)
        numbers = {"steps": reel.steps, "scores": scores, "gradient_norms": gradients, "code": code}
        for name, values in numbers.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.asanyarray(values), allow_pickle=False)


def content(name: str, reel: FrameBuffer, at: int, code: str) -> bytes:
    """What a file of this name holds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path, reel, at, code)
        return path.read_bytes()


def code_of(specification: Specification, frame: Frame, image: str | None = None) -> list[str]:
    """The lines that make a frame again, where ``net`` is given.

    Parameters
    ----------
    image
        The expression for the picture that the run was given. Default: what is known of where it came from.
    """
    made = frame.provenance
    names, *lines = filter(None, made.code.splitlines())
    given = [f"image = {image or picture_code(specification.source)}"] if re.search(r"\bimage\b", made.code) else []
    return [names, *given, *lines, f"frame = {made.found(frame.step)}"]


def whole_code(run: Run, at: int) -> list[str]:
    """The lines of Python that make a run's frame again, its imports and its network among them."""
    specification = run.specification_of(run.reel.steps[at])
    names, *lines = code_of(specification, run.reel[at])
    return ["import nbcnnviz as nv", names, "", network_code(specification.network), *lines]
