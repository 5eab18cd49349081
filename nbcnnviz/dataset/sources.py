"""Where many pictures come from: a folder, a zip, a list, an array, a data set; each picture with a key and a label."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nbcnnviz.core.errors import ImageError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".ppm", ".pgm"})


class Source(ABC):
    """Pictures by number, opened when they are asked for.

    Attributes
    ----------
    name : str
        What it is, in words.
    shape : tuple[int, ...] or None
        (C, H, W), where the pictures are preprocessed already.
    """

    name: str
    shape: tuple[int, ...] | None = None

    @abstractmethod
    def __len__(self) -> int:
        """How many pictures there are."""

    @abstractmethod
    def key(self, index: int) -> str:
        """What a picture is called: a path within the folder, a number."""

    @abstractmethod
    def __getitem__(self, index: int) -> tuple[Any, str | None]:
        """A picture, as `nbcnnviz.Network.batch` takes it, and its label, None where it has none."""

    def fingerprint(self) -> str:
        """What tells this source from another: a hash of its keys, and of what is cheap to know of each picture."""
        digest = hashlib.blake2b(f"{type(self).__name__} {len(self)}".encode(), digest_size=16)
        for index in range(len(self)):
            digest.update(f"\n{self._mark(index)}".encode())
        return digest.hexdigest()

    def _mark(self, index: int) -> str:
        return self.key(index)


class Folder(Source):
    """The pictures in a folder and below it, by path; the first folder on the way to a picture is its label."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()
        self.name = self.path.name or str(self.path)
        found = [p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.suffix.lower() in SUFFIXES]
        self._keys = sorted(k for k in found if not any(part.startswith(".") for part in k.split("/")))

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, index: int) -> str:
        """The path within the folder."""
        return self._keys[index]

    def __getitem__(self, index: int) -> tuple[Any, str | None]:
        key = self._keys[index]
        return self.path / key, _label_in(key)

    def _mark(self, index: int) -> str:
        try:
            size = (self.path / self._keys[index]).stat().st_size
        except OSError:
            size = -1
        return f"{self._keys[index]} {size}"


class Zip(Source):
    """The pictures in a zip file; see `Folder`. The file is opened anew for each, so that threads may share it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()
        self.name = self.path.name
        try:
            with zipfile.ZipFile(self.path) as file:
                entries = [e for e in file.infolist() if Path(e.filename).suffix.lower() in SUFFIXES and not e.is_dir()]
        except (OSError, zipfile.BadZipFile) as error:
            raise ImageError(f"{self.name!r} is no zip file that can be read ({error}).") from error
        entries = [e for e in entries if not e.filename.startswith("__MACOSX")]
        self._entries = {e.filename: e.CRC for e in sorted(entries, key=lambda e: e.filename)}
        self._keys = list(self._entries)

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, index: int) -> str:
        """The path within the file."""
        return self._keys[index]

    def __getitem__(self, index: int) -> tuple[Any, str | None]:
        key = self._keys[index]
        try:
            with zipfile.ZipFile(self.path) as file:
                return io.BytesIO(file.read(key)), _label_in(key)
        except (OSError, zipfile.BadZipFile) as error:
            raise ImageError(f"{key!r} in {self.name!r} cannot be read ({error}).") from error

    def _mark(self, index: int) -> str:
        return f"{self._keys[index]} {self._entries[self._keys[index]]}"


class Listed(Source):
    """A list of pictures, each as `nbcnnviz.load_image` takes it; an array (N, H, W, C) or a preprocessed batch."""

    def __init__(self, pictures: Sequence[Any], labels: Sequence[Any] | None = None, name: str = "a list") -> None:
        if labels is not None and len(labels) != len(pictures):
            raise ImageError(f"{len(labels)} labels for {len(pictures)} pictures: give one a picture.")
        self._pictures, self._labels, self.name = pictures, labels, name
        self.shape = tuple(pictures.shape[1:]) if isinstance(pictures, Tensor) else None

    def __len__(self) -> int:
        return len(self._pictures)

    def key(self, index: int) -> str:
        """The path, the sample's name, or the number."""
        picture = self._pictures[index]
        return str(picture) if isinstance(picture, (str, os.PathLike)) else str(index)

    def __getitem__(self, index: int) -> tuple[Any, str | None]:
        picture = self._pictures[index]
        if isinstance(self._pictures, Tensor):
            picture = picture[None]  # preprocessed, (1, C, H, W)
        return picture, None if self._labels is None else _text(self._labels[index])

    def _mark(self, index: int) -> str:
        picture = self._pictures[index]
        if isinstance(picture, Tensor):
            picture = picture.detach().cpu().numpy()
        if isinstance(picture, np.ndarray):
            return hashlib.blake2b(np.ascontiguousarray(picture).tobytes(), digest_size=8).hexdigest()
        return self.key(index)


class Items(Source):
    """A ``torch.utils.data.Dataset``, or any with a length and items: pictures, (picture, label) pairs or dictionaries.

    Of a dictionary (Hugging Face's data sets), the picture is under ``image`` or ``img`` and the label under ``label``.
    A floating-point tensor (C, H, W) is taken as preprocessed; what is else is a picture.
    """

    def __init__(self, items: Any) -> None:
        self._items, self.name = items, type(items).__name__
        names = getattr(items, "classes", None)
        features = getattr(items, "features", None)
        if names is None and isinstance(features, Mapping):
            names = getattr(features.get("label"), "names", None)
        self._names = list(names) if names is not None else None

    def __len__(self) -> int:
        return len(self._items)

    def key(self, index: int) -> str:
        """The number."""
        return str(index)

    def __getitem__(self, index: int) -> tuple[Any, str | None]:
        item = self._items[index]
        label = None
        if isinstance(item, Mapping):
            picture = next((item[key] for key in ("image", "img", "picture") if key in item), None)
            label = item.get("label")
        elif isinstance(item, (tuple, list)):
            picture, label = item[0], item[1] if len(item) > 1 else None
        else:
            picture = item
        if picture is None:
            raise ImageError(f"Item {index} of {self.name} holds no picture: it needs one under 'image'.")
        if isinstance(picture, Tensor) and picture.ndim == 3 and picture.is_floating_point():
            picture = picture[None]
        if label is not None and self._names is not None and not isinstance(label, str):
            label = self._names[int(label)]
        return picture, _text(label)


def source_of(pictures: Any, labels: Sequence[Any] | None = None) -> Source:
    """The pictures meant.

    Parameters
    ----------
    pictures
        A folder, a zip file, the name of a data set that comes along (`datasets`), a list of whatever
        `nbcnnviz.load_image` takes, an array (N, H, W) or (N, H, W, C), a preprocessed tensor (N, C, H, W), a
        ``torch.utils.data.Dataset``, a Hugging Face data set, or a `Source`. A folder that has the name of a data set
        is told apart by its path: ``"./digits"``.
    labels
        One a picture, for a list, an array or a tensor.

    Raises
    ------
    ImageError
        If there is no such folder or file, it holds no picture, or it is none of these.
    """
    found = _source_of(pictures, labels)
    if len(found) == 0:
        raise ImageError(
            f"There is no picture in {found.name}: it needs files that end in {', '.join(sorted(SUFFIXES))}."
            if isinstance(found, (Folder, Zip))
            else f"There is no picture in {found.name}: give one or more."
        )
    return found


def _source_of(pictures: Any, labels: Sequence[Any] | None) -> Source:
    if isinstance(pictures, Source):
        return pictures
    if isinstance(pictures, (str, os.PathLike)):
        from nbcnnviz.dataset.bundled import bundled, datasets

        if isinstance(pictures, str) and pictures in datasets():
            return bundled(pictures)
        path = Path(pictures).expanduser()
        if path.is_dir():
            return Folder(path)
        if path.is_file():
            return Zip(path)
        raise ImageError(
            f"There is no folder or zip file {str(pictures)!r}; the data sets that come along are {', '.join(datasets())}."
        )
    if isinstance(pictures, Tensor):
        if pictures.ndim != 4:
            raise ImageError(f"A tensor of pictures is preprocessed, (N, C, H, W), not {tuple(pictures.shape)}.")
        return Listed(pictures, labels, "a tensor")  # type: ignore[arg-type]
    if isinstance(pictures, np.ndarray):
        if pictures.ndim not in (3, 4):
            raise ImageError(f"An array of pictures is (N, H, W) or (N, H, W, C), not {pictures.shape}.")
        return Listed(pictures, labels, "an array")  # type: ignore[arg-type]
    if isinstance(pictures, (list, tuple)):
        return Listed(pictures, labels)
    if hasattr(pictures, "__getitem__") and hasattr(pictures, "__len__"):
        return Items(pictures)
    if isinstance(pictures, torch.utils.data.IterableDataset):
        raise ImageError("A data set that can only be iterated has no numbers to go on from: give one with a length.")
    raise ImageError(
        f"A {type(pictures).__name__} holds no pictures: give a folder, a zip file, a list, an array or a data set."
    )


def _label_in(key: str) -> str | None:
    first, slash, _ = key.partition("/")
    return first if slash else None


def _text(label: Any) -> str | None:
    if label is None:
        return None
    return str(label.item()) if hasattr(label, "item") else str(label)
