"""What makes each channel of each layer fire, found over many pictures: the result of a scan."""

from __future__ import annotations

import io
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nbcnnviz.core.errors import ExportError, FilterRangeError, ScanError, UnknownLayerError

FORMAT = 2

# Values are counted in bins of a quarter of an octave, from 2^-12 to 2^12 on either side of zero.
_FIRST, _BINS = (127 - 12) * 4, 96
BIN_COUNT = 2 * _BINS + 1

_NONE = np.iinfo(np.int64).min
_FIXED = 2.0**16
"""Sums over a class are kept as whole numbers of this fraction: whole numbers add up to the same in any order."""


class Patch(NamedTuple):
    """One of a channel's strongest activations.

    Attributes
    ----------
    value : float
        The activation.
    picture : int
        The picture's number in its source.
    key : str
        What the picture is called there.
    row, column : int
        The unit's place on the layer's maps.
    box : tuple[int, int, int, int] or None
        What the unit sees of the network's input: top, left, bottom, right; None where that is not known.
    """

    value: float
    picture: int
    key: str
    row: int
    column: int
    box: tuple[int, int, int, int] | None


@dataclass(frozen=True, eq=False)
class LayerPatches:
    """The counts of one layer with C channels.

    Attributes
    ----------
    order : numpy.ndarray
        (C, k) int64, descending: a value and the number of its picture as one sortable number.
    places : numpy.ndarray
        (C, k) int32: the strongest unit's place on the flattened maps.
    fired : numpy.ndarray
        (C,) int64: in how many pictures the strongest activation is above zero.
    histogram : numpy.ndarray
        (C, `BIN_COUNT`) int64: how many pictures have their strongest activation in a bin.
    by_class : dict[str, tuple[int, numpy.ndarray]]
        For each label, how many pictures have it, and the sum of their strongest activations, (C,) int64, in 1/65536.
    size : tuple[int, int]
        Height and width of the maps.
    rows, columns : numpy.ndarray or None
        (h, 4) and (w, 4): the receptive fields, as `nbcnnviz.inside.ReceptiveFields` has them.
    """

    order: np.ndarray
    places: np.ndarray
    fired: np.ndarray
    histogram: np.ndarray
    by_class: dict[str, tuple[int, np.ndarray]]
    size: tuple[int, int]
    rows: np.ndarray | None = None
    columns: np.ndarray | None = None

    @property
    def values(self) -> np.ndarray:
        """(C, k) float32: the strongest activations, descending; NaN where there were fewer pictures."""
        return np.where(self.order == _NONE, np.float32(np.nan), unsortable(self.order >> 32))

    @property
    def pictures(self) -> np.ndarray:
        """(C, k) int64: the numbers of the pictures; -1 where there were fewer."""
        return np.where(self.order == _NONE, -1, 0xFFFFFFFF - (self.order & 0xFFFFFFFF))

    def merged(self, other: LayerPatches) -> LayerPatches:
        """The counts of both."""
        if self.size != other.size or len(self.order) != len(other.order):
            raise ScanError("The two scans saw maps of different sizes, and cannot be put together.")
        k = self.order.shape[1]
        order = np.concatenate([self.order, other.order], 1)
        best = np.argsort(-1 - order, axis=1, kind="stable")[:, :k]  # -1 - x reverses without overflow
        places = np.concatenate([self.places, other.places], 1)
        by_class = dict(self.by_class)
        for label, (count, sums) in other.by_class.items():
            known = by_class.get(label, (0, np.int64(0)))
            by_class[label] = (known[0] + count, known[1] + sums)
        return replace(
            self,
            order=np.take_along_axis(order, best, 1),
            places=np.take_along_axis(places, best, 1),
            fired=self.fired + other.fired,
            histogram=self.histogram + other.histogram,
            by_class=dict(sorted(by_class.items())),
            rows=self.rows if self.rows is not None else other.rows,
            columns=self.columns if self.columns is not None else other.columns,
        )


@dataclass(frozen=True, eq=False)
class TopPatches:
    """The result of a scan, of some or all pictures; two of the same scan merge, in any order, to the same.

    Attributes
    ----------
    layers : dict[str, LayerPatches]
        By name.
    k : int
        How many patches a channel has.
    total : int
        How many pictures the source has.
    seen : int
        How many were looked at.
    skipped : dict[str, str]
        The keys of those that could not be read, with the reason.
    keys : dict[int, str]
        The keys of the pictures that are among the patches.
    chunks : frozenset[int]
        Which parts of the source are in it.
    network, source : str
        The fingerprints.
    about : dict
        Names and settings, for people.
    whole : TopPatches or None
        Of what a scan says in the middle of a part: the result without that part, which has to be begun anew.
    """

    layers: dict[str, LayerPatches]
    k: int
    total: int
    seen: int
    skipped: dict[str, str]
    keys: dict[int, str]
    chunks: frozenset[int]
    network: str
    source: str
    about: dict[str, Any] = field(default_factory=dict)
    whole: TopPatches | None = None

    def __repr__(self) -> str:
        skipped = f", {len(self.skipped)} could not be read" if self.skipped else ""
        return f"<TopPatches: {len(self.layers)} layers, {self.seen} of {self.total} pictures{skipped}>"

    @property
    def step(self) -> int:
        """How many pictures are done, those that could not be read included."""
        return self.seen + len(self.skipped)

    @property
    def steps(self) -> int:
        """How many there are."""
        return self.total

    def patches(self, layer: str, channel: int) -> list[Patch]:
        """A channel's strongest activations, one a picture, strongest first; of equals, the earlier picture first.

        Raises
        ------
        UnknownLayerError, FilterRangeError
            If the scan did not look at that layer, or there is no such channel.
        """
        found = self._layer(layer, channel)
        patches = []
        rows = zip(found.values[channel], found.pictures[channel], found.places[channel], strict=True)
        for value, picture, place in rows:
            if picture < 0:
                break
            row, column = divmod(int(place), found.size[1])
            box = None
            if found.rows is not None and found.columns is not None:
                top, left = np.maximum(found.rows[row], found.columns[column])[:2].tolist()
                bottom, right = np.minimum(found.rows[row], found.columns[column])[2:].tolist()
                box = (top, left, bottom, right) if top < bottom and left < right else None
            patches.append(Patch(float(value), int(picture), self.keys[int(picture)], row, column, box))
        return patches

    def fires(self, layer: str, channel: int) -> float:
        """The share of pictures in which a channel's strongest activation is above zero."""
        return float(self._layer(layer, channel).fired[channel]) / max(1, self.seen)

    def quantile(self, layer: str, channel: int, q: float) -> float:
        """A quantile of a channel's strongest activation over the pictures, to within a quarter of an octave (19 %)."""
        counts = self._layer(layer, channel).histogram[channel]
        at = int(np.searchsorted(np.cumsum(counts), max(1, np.ceil(q * counts.sum()))))
        return float(bin_values()[min(at, BIN_COUNT - 1)])

    def classes(self, layer: str, channel: int, count: int = 5) -> list[tuple[str, float]]:
        """The labels that fire a channel most: (label, mean of the strongest activation), highest first."""
        by_class = self._layer(layer, channel).by_class
        means = [(label, float(sums[channel]) / _FIXED / n) for label, (n, sums) in by_class.items()]
        return sorted(means, key=lambda pair: -pair[1])[:count]

    def merge(self, other: TopPatches) -> TopPatches:
        """Both as one.

        Raises
        ------
        ScanError
            If they are not parts of the same scan, or have a part in common.
        """
        mine = (self.network, self.source, self.k, self.total, set(self.layers))
        if mine != (other.network, other.source, other.k, other.total, set(other.layers)):
            raise ScanError("These are results of different scans: of other networks, pictures, layers or k.")
        if self.whole is not None or other.whole is not None:
            raise ScanError("One of these results was said in the middle of a part of the scan: merge its .whole.")
        if self.chunks & other.chunks:
            raise ScanError("These results have pictures in common, which would be counted twice.")
        layers = {name: layer.merged(other.layers[name]) for name, layer in self.layers.items()}
        used = set(np.unique(np.concatenate([layer.pictures.ravel() for layer in layers.values()])).tolist())
        keys = self.keys | other.keys
        return replace(
            self,
            layers=layers,
            seen=self.seen + other.seen,
            skipped=dict(sorted((self.skipped | other.skipped).items())),
            keys={index: keys[index] for index in sorted(keys) if index in used},
            chunks=self.chunks | other.chunks,
        )

    def table(self) -> Any:
        """One row a patch, as a pandas data frame: layer, channel, rank, value, key, row, column, top, left, bottom, right."""
        import pandas as pd

        columns = ["layer", "channel", "rank", "value", "key", "row", "column", "top", "left", "bottom", "right"]
        return pd.DataFrame(list(self._rows()), columns=columns)

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        for name, layer in self.layers.items():
            for channel in range(len(layer.order)):
                for rank, p in enumerate(self.patches(name, channel), 1):
                    yield name, channel, rank, p.value, p.key, p.row, p.column, *(p.box or (None,) * 4)

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything to one file, numpy's ``.npz``; the old one, if any, stays until the new one is whole.

        What a scan says in the middle of a part is written without that part, so that it can go on from the file.

        Raises
        ------
        ExportError
            If it cannot be written.
        """
        if self.whole is not None:
            return self.whole.save(path)
        arrays: dict[str, np.ndarray] = {}
        layers = []
        for i, (name, layer) in enumerate(self.layers.items()):
            for part in ("order", "places", "fired", "histogram", "rows", "columns"):
                if (values := getattr(layer, part)) is not None:
                    arrays[f"{i}.{part}"] = values
            for j, (_, sums) in enumerate(layer.by_class.values()):
                arrays[f"{i}.class.{j}"] = sums
            counts = [(label, count) for label, (count, _) in layer.by_class.items()]
            layers.append({"name": name, "size": layer.size, "classes": counts})
        about = {
            "format": FORMAT,
            "layers": layers,
            "keys": list(self.keys.items()),
            "chunks": sorted(self.chunks),
            **{n: getattr(self, n) for n in ("k", "total", "seen", "skipped", "network", "source", "about")},
        }
        arrays["about"] = np.array(json.dumps(about))
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        written(Path(path).expanduser(), file.getvalue())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> TopPatches:
        """Open a file that `save` wrote. Neither the network nor the pictures are needed.

        Raises
        ------
        ScanError
            If it is no such file.
        """
        try:
            with np.load(Path(path).expanduser(), allow_pickle=False) as arrays:
                about = json.loads(str(arrays["about"]))
                if about["format"] != FORMAT:
                    raise ScanError(f"{str(path)!r} was written by another version of nbcnnviz: scan again.")
                layers = {}
                for i, layer in enumerate(about["layers"]):
                    parts = {
                        part: arrays.get(f"{i}.{part}")
                        for part in ("order", "places", "fired", "histogram", "rows", "columns")
                    }
                    by_class = {c: (n, arrays[f"{i}.class.{j}"]) for j, (c, n) in enumerate(layer["classes"])}
                    layers[layer["name"]] = LayerPatches(**parts, by_class=by_class, size=tuple(layer["size"]))
        except ScanError:
            raise
        except Exception as error:  # whatever numpy, zipfile and json raise at what is none of ours
            raise ScanError(f"{str(path)!r} is no result of a scan ({type(error).__name__}).") from error
        return cls(
            layers,
            keys={int(index): key for index, key in about["keys"]},
            chunks=frozenset(about["chunks"]),
            **{n: about[n] for n in ("k", "total", "seen", "skipped", "network", "source", "about")},
        )

    def _layer(self, layer: str, channel: int) -> LayerPatches:
        if layer not in self.layers:
            raise UnknownLayerError(layer, self.layers, "The scan did not look at it.")
        found = self.layers[layer]
        if not 0 <= channel < len(found.order):
            raise FilterRangeError(f"Layer {layer!r} has channels 0 to {len(found.order) - 1}: there is no {channel}.")
        return found


def written(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; ExportError, with what the system says, if it cannot be."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("xb") as file:  # readable by whoever may read the user's other files
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise ExportError(f"{str(path)!r} cannot be written ({error.strerror or error}).") from error


def sortable(values: np.ndarray) -> np.ndarray:
    """float32 as int32 in the same order."""
    bits = values.astype(np.float32).view(np.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def unsortable(numbers: np.ndarray) -> np.ndarray:
    """The float32 of such numbers."""
    bits = numbers.astype(np.int32)
    values: np.ndarray = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(np.float32)
    return values


def bins_of(values: np.ndarray) -> np.ndarray:
    """The bins of float32 values, by their exponent and the first two bits after it."""
    bits = np.ascontiguousarray(values, np.float32).view(np.int32)
    size = np.clip(((bits & 0x7FFFFFFF) >> 21) - _FIRST + 1, 0, _BINS)
    bins: np.ndarray = np.where(bits < 0, _BINS - size, _BINS + size)
    return bins


def bin_values() -> np.ndarray:
    """The value that stands for each bin: its middle, zero for what is smaller than 2^-12."""
    at = np.arange(_BINS)
    low = 2.0 ** (at // 4 - 12) * (1 + (at % 4) / 4)
    middle = low + 2.0 ** (at // 4 - 12) / 8
    return np.concatenate([-middle[::-1], [0.0], middle])


def fixed(values: np.ndarray) -> np.ndarray:
    """Values as whole numbers of 1/65536, for sums that are the same in any order."""
    return np.clip(np.rint(values.astype(np.float64) * _FIXED), -(2.0**46), 2.0**46).astype(np.int64)
