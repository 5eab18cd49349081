"""Sample pictures: photographs that come with other packages, objects out of them side by side, textures; all offline."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from random import Random

from PIL import Image

from nbcnnviz.core.errors import ImageError, nearest

Box = tuple[int, int, int, int]

GREY = (124, 116, 104)
"""What objects are pasted on: ImageNet's mean colour, of which a network sees nothing."""

KINDS = ("photographs", "composed", "textures")

GROUNDS = ("grey", "texture")
"""What objects can be pasted on at random."""


@dataclass(frozen=True)
class ObjectBox:
    """Where an object is in a picture.

    Attributes
    ----------
    name : str
        What it is, in a word.
    box : tuple[int, int, int, int]
        Left, top, right and bottom in pixels of the picture, right and bottom excluded.
    classes : tuple[str, ...]
        Which of ImageNet's classes it is, or may well be taken for.
    """

    name: str
    box: Box
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Composed:
    """Objects pasted on a ground, each known and at a known place.

    Attributes
    ----------
    picture : PIL.Image.Image
        The picture, RGB.
    objects : tuple[ObjectBox, ...]
        What is in it, and where.
    """

    picture: Image.Image
    objects: tuple[ObjectBox, ...]


@dataclass(frozen=True)
class _File:
    """A picture that another package brings: in which folder of it, of which kind, with which objects."""

    package: str
    path: str
    kind: str
    objects: tuple[ObjectBox, ...] = ()

    def at(self, folders: Iterable[str] | None = None) -> Path | None:
        """The file; None where the package is not installed, or comes without it. ``folders`` are its package's."""
        for folder in _folders(self.package) if folders is None else folders:
            path = os.path.join(folder, self.path)
            if os.path.isfile(path):
                return Path(path)
        return None


def _folders(package: str) -> list[str]:
    """Where a package is, which is not imported for that; nowhere, if it is not installed."""
    found = find_spec(package)
    return list(found.submodule_search_locations or ()) if found else []


@dataclass(frozen=True)
class _Paste:
    """Objects of photographs at places of a grey square: (photograph, left, top, width), in pixels."""

    side: int
    pasted: tuple[tuple[str, int, int, int], ...]


def _photograph(file: str, *objects: ObjectBox, package: str = "skimage", folder: str = "data") -> _File:
    return _File(package, f"{folder}/{file}", "photographs", objects)


def _texture(file: str) -> _File:
    return _File("skimage", f"data/{file}", "textures")


_CAT = ObjectBox("cat", (0, 0, 370, 300), ("Egyptian cat", "tiger cat", "tabby"))
_CUP = ObjectBox("cup", (80, 12, 484, 388), ("espresso", "cup", "coffee mug"))
_MOTORCYCLE = ObjectBox("motorcycle", (92, 72, 686, 456), ("moped", "motor scooter"))
_TRIPOD = ObjectBox("tripod", (228, 132, 408, 512), ("tripod",))
_ROCKET = ObjectBox("rocket", (300, 125, 345, 415), ("missile", "projectile", "space shuttle"))

# scikit-image is needed anyway; scikit-learn's and matplotlib's pictures are offered where those are installed.
_FILES = {
    "chelsea": _photograph("chelsea.png", _CAT),
    "coffee": _photograph("coffee.png", _CUP),
    "motorcycle": _photograph("motorcycle_left.png", _MOTORCYCLE),
    "rocket": _photograph("rocket.jpg", _ROCKET),
    "astronaut": _photograph("astronaut.png", ObjectBox("space shuttle", (358, 0, 455, 285), ("space shuttle",))),
    "camera": _photograph("camera.png", _TRIPOD),
    "flower": _photograph(
        "flower.jpg",
        ObjectBox("flower", (168, 82, 448, 360), ("daisy",)),
        ObjectBox("flower", (288, 372, 446, 427), ("daisy",)),
        package="sklearn",
        folder="datasets/images",
    ),
    "china": _photograph(
        "china.jpg",
        ObjectBox("pavilion", (64, 26, 366, 400), ("palace", "bell cote", "monastery")),
        package="sklearn",
        folder="datasets/images",
    ),
    "grace_hopper": _photograph(
        "grace_hopper.jpg",
        ObjectBox("uniform", (0, 310, 512, 600), ("military uniform",)),
        package="matplotlib",
        folder="mpl-data/sample_data",
    ),
    "coins": _texture("coins.png"),
    "moon": _texture("moon.png"),
    "galaxies": _texture("hubble_deep_field.jpg"),
    "brick": _texture("brick.png"),
    "grass": _texture("grass.png"),
    "gravel": _texture("gravel.png"),
}

_PASTED = {
    "cat_above_cup": _Paste(512, (("chelsea", 142, 38, 260), ("coffee", 142, 254, 236))),
    "cat_and_motorcycle": _Paste(512, (("chelsea", 230, 37, 240), ("motorcycle", 42, 254, 330))),
    "cat_and_tripod": _Paste(512, (("chelsea", 230, 37, 240), ("camera", 60, 180, 140))),
    "cup_and_motorcycle": _Paste(512, (("coffee", 240, 37, 230), ("motorcycle", 42, 262, 320))),
}

# What pictures are composed of at random: from scikit-image alone, so that a seed gives the same ones everywhere.
_CUT_OUT = ("chelsea", "coffee", "motorcycle", "camera")
_GROUND = ("brick", "grass", "gravel")


def samples(kind: str | None = None) -> list[str]:
    """Names of the sample pictures, on disk and offline, as `load_image` takes them.

    Photographs first; then grey squares with two known objects, which tell whether a map is of one class; last textures
    and patterns, of which an ImageNet network has nothing to say. What is where in them `sample_boxes` knows.

    Parameters
    ----------
    kind
        ``"photographs"``, ``"composed"`` or ``"textures"``. Default: all. scikit-learn's photographs ("flower",
        "china") and matplotlib's ("grace_hopper") are among them where those packages are installed.

    Raises
    ------
    ImageError
        If there is no such kind.
    """
    if kind is not None and kind not in KINDS:
        raise ImageError(f"Samples are of the kinds {', '.join(KINDS)}, not {kind!r}.")
    # To look for a package takes longer than for a file in it: once a call each, and not once for all, since a package
    # may be installed meanwhile.
    folders = {package: _folders(package) for package in {file.package for file in _FILES.values()}}
    there = {name: file.kind for name, file in _FILES.items() if file.at(folders[file.package])}
    there |= dict.fromkeys(_PASTED, "composed")
    return [name for found in KINDS if kind in (None, found) for name in there if there[name] == found]


def is_sample(name: object) -> bool:
    """Whether this is the name of a sample, also of one whose package is not installed."""
    return isinstance(name, str) and (name in _FILES or name in _PASTED)


def sample_boxes(name: str) -> tuple[ObjectBox, ...]:
    """The objects in a sample picture and where they are, in its own pixels; none in a texture.

    Raises
    ------
    ImageError
        If there is no such sample; the message names the nearest.
    """
    if name in _PASTED:
        return sample(name).objects
    if name in _FILES:
        return _FILES[name].objects
    near = nearest(str(name), samples())
    raise ImageError(f"There is no sample {name!r}" + (f"; nearest: {', '.join(near)}." if near else "."))


def sample(name: str) -> Composed:
    """A sample picture, RGB, with the objects in it.

    Raises
    ------
    ImageError
        If the package that brings it is not installed.
    """
    if name in _PASTED:
        paste = _PASTED[name]
        return _pasted((paste.side, paste.side), paste.pasted)
    file = _FILES[name]
    path = file.at()
    if path is None:
        package = {"sklearn": "scikit-learn", "skimage": "scikit-image"}.get(file.package, file.package)
        raise ImageError(
            f"The sample {name!r} comes with {package}, which is not installed here: pip install {package}."
        )
    with Image.open(path) as picture:
        return Composed(picture.convert("RGB"), file.objects)


def composed(
    count: int = 30,
    *,
    objects: int = 2,
    size: int | tuple[int, int] = 448,
    ground: str = "grey",
    photographs: Sequence[str] | None = None,
    seed: int = 0,
) -> Iterator[Composed]:
    """Pictures with objects of the sample photographs at random places of a ground, none over another.

    For the pointing game, and to see whether a map tells classes apart. The objects are other ones within each picture;
    each is scaled so that its longer side is 0.3 to 0.5 of the picture's shorter one, and lies within the inner 7/8 of
    the picture, which most preprocessings keep.

    Parameters
    ----------
    count
        How many pictures. Default: 30.
    objects
        How many objects in each, at most one of a photograph. Default: 2.
    size
        Height and width in pixels, or one number for both. Default: 448.
    ground
        ``"grey"``, ImageNet's mean colour; or ``"texture"``, a random part of a photograph of bricks, grass or gravel, at
        a random scale. Default: grey.
    photographs
        The sample photographs whose first object is cut out. Default: "chelsea", "coffee", "motorcycle" and "camera",
        which are there wherever this package is, so that a seed gives the same pictures everywhere.
    seed
        Of places, sizes, choice and ground. The same seed gives the same pictures; the places are those on any ground.

    Yields
    ------
    Composed
        The picture, and its objects with their boxes.

    Raises
    ------
    ImageError
        If there are more objects than photographs, no such photograph or ground, or the picture is smaller than 32 pixels.
    """
    height, width = (size, size) if isinstance(size, int) else size
    of = _CUT_OUT if photographs is None else tuple(dict.fromkeys(photographs))
    unknown = [name for name in of if name not in samples("photographs")]
    if unknown:
        raise ImageError(
            f"There is no sample photograph {unknown[0]!r}: there are {', '.join(samples('photographs'))}."
        )
    if not 1 <= objects <= len(of):
        raise ImageError(f"A picture is composed of 1 to {len(of)} objects, not {objects}.")
    if min(height, width) < 32:
        raise ImageError(f"A composed picture is 32 pixels or more a side, not {height} x {width}.")
    if ground not in GROUNDS:
        raise ImageError(f"Objects are pasted on {' or '.join(GROUNDS)}, not on {ground!r}.")
    draw, draw_ground = Random(seed), Random(seed)
    for _ in range(count):
        names = draw.sample(of, objects)
        below = _texture_of((width, height), draw_ground) if ground == "texture" else None
        yield _pasted((width, height), _places(names, (width, height), draw), below)


def _texture_of(size: tuple[int, int], draw: Random) -> Image.Image:
    """A random part of a texture; ``size`` is (width, height)."""
    whole = sample(draw.choice(_GROUND)).picture
    scale = draw.uniform(0.4, 1) * min(whole.width / size[0], whole.height / size[1])
    width, height = scale * size[0], scale * size[1]
    left, top = draw.uniform(0, whole.width - width), draw.uniform(0, whole.height - height)
    return whole.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))


def _places(names: list[str], size: tuple[int, int], draw: Random) -> tuple[tuple[str, int, int, int], ...]:
    """A place and a width for each object, drawn anew until none lies over another."""
    while True:
        placed: list[tuple[str, int, int, int]] = []
        boxes: list[Box] = []
        for name in names:
            left, top, right, bottom = _FILES[name].objects[0].box
            scale = draw.uniform(0.3, 0.5) * min(size) / max(right - left, bottom - top)
            width, height = round((right - left) * scale), round((bottom - top) * scale)
            margin = size[0] // 16, size[1] // 16
            x = draw.randint(margin[0], size[0] - margin[0] - width)
            y = draw.randint(margin[1], size[1] - margin[1] - height)
            placed.append((name, x, y, width))
            boxes.append((x, y, x + width, y + height))
        if not any(_overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i]):
            return tuple(placed)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _pasted(
    size: tuple[int, int], pasted: tuple[tuple[str, int, int, int], ...], ground: Image.Image | None = None
) -> Composed:
    """Objects on a ground of this size, or on grey; ``size`` is (width, height)."""
    picture, found = Image.new("RGB", size, GREY) if ground is None else ground.copy(), []
    for name, left, top, width in pasted:
        thing = _FILES[name].objects[0]
        cut = sample(name).picture.crop(thing.box)
        height = round(cut.height * width / cut.width)
        picture.paste(cut.resize((width, height), Image.Resampling.BICUBIC), (left, top))
        found.append(ObjectBox(thing.name, (left, top, left + width, top + height), thing.classes))
    return Composed(picture, tuple(found))
