"""The lines of Python that make what is selected again; ``...`` stands for what only the reader has."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from PIL import Image

from nbcnnviz.attribution import Attribution, methods
from nbcnnviz.core.bands import Bands
from nbcnnviz.core.errors import NbcnnvizError
from nbcnnviz.core.images import load_image
from nbcnnviz.core.network import Network
from nbcnnviz.core.samples import samples
from nbcnnviz.core.targets import ClassScore, in_python
from nbcnnviz.session.snapshot import Snapshot


def network_code(network: Network) -> str:
    """The line that makes a network again."""
    return "net = ...  # your nv.Network" if network.origin is None else f"net = nv.{network.origin}"


def picture_code(source: str, image: Image.Image | None = None) -> str:
    """The expression for a picture, by where it came from; an ``image`` is looked for there, pixel by pixel."""
    known = source in samples() or (source and Path(source).expanduser().is_file())
    if known and image is not None and not isinstance(image, Bands):
        known = False  # an upload may be called like a sample, or like a file that is here
        with suppress(NbcnnvizError):
            known = load_image(source) == image
    return repr(source) if known else "...  # your picture"


def selection_code(snapshot: Snapshot) -> tuple[list[str], str]:
    """The lines that make network and picture again, and the expression for the picture then."""
    lines = ["import nbcnnviz as nv", network_code(snapshot.network)]
    image = picture_code(snapshot.source, snapshot.image)
    if image.startswith("..."):
        lines.append(f"image = {image}")
        image = "image"
    if snapshot.crop is not None:
        load = "net.picture" if isinstance(snapshot.image, Bands) else "nv.load_image"
        lines.append(f"image = {load}({image})")
        lines.append(f"cropped = image.crop({snapshot.box})")
        image = "cropped"
    return lines, image


def explanation_code(snapshot: Snapshot, image: str, result: Attribution | None) -> list[str]:
    """The call of `nbcnnviz.attribute` that makes the map again, with the options that are not the defaults."""
    method, target = methods()[snapshot.method], snapshot.target
    if target is None and result is not None and isinstance(result.target, ClassScore):
        target = result.target.indices(result.trace)[0]
    lines, explained = in_python(target)
    layer = f", layer={snapshot.layer!r}" if method.needs_layer else ""
    given = {name: value for name, value in snapshot.options.items() if value != method.options[name].default}
    options = "".join(f", {name}={value!r}" for name, value in given.items())
    call = f"result = nv.attribute(net, {image}, method={method.name!r}, target={explained}{layer}{options})"
    return [*lines, call]
