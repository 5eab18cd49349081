"""What is selected at one moment, for a task to answer whatever is selected since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image

from nbcnnviz.core.network import Network


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The selection after one whole change; its values belong together.

    Attributes
    ----------
    network, image, source, crop, layer, filter, unit, method
        As `Selection` has them.
    picture
        The part of ``image`` that the network gets.
    target
        What is explained: a filter or unit if one is chosen, else ``class_``.
    class_
        The class, or the target set in Python, that is selected, also while a filter is explained.
    options
        A copy of the method's own options.
    settings
        The settings of the panel that asks, as `Panel.settings` returned them.
    """

    network: Network
    image: Image.Image
    picture: Image.Image
    source: str
    crop: tuple[float, float, float, float] | None
    target: Any
    class_: Any
    layer: str | None
    filter: int | None
    unit: tuple[int, int] | None
    method: str
    options: dict[str, Any]
    settings: Any = None

    @property
    def box(self) -> tuple[int, int, int, int]:
        """What is cropped, in pixels of ``image``: (left, top, right, bottom), as Pillow has it."""
        return crop_box(self.image, self.crop)


def crop_box(image: Image.Image, crop: tuple[float, float, float, float] | None) -> tuple[int, int, int, int]:
    """Shares of a picture's width and height in whole pixels, rounded outwards."""
    width, height = image.size
    left, top, right, bottom = crop or (0.0, 0.0, 1.0, 1.0)
    return int(left * width), int(top * height), -int(-right * width // 1), -int(-bottom * height // 1)
