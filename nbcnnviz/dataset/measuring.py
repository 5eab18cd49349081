"""A number about the map of each of many pictures, and their mean: what a method is worth on a data set."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from nbcnnviz.attribution import Attribution, attribute
from nbcnnviz.core.errors import ImageError, NbcnnvizError, ScanError
from nbcnnviz.core.network import Network
from nbcnnviz.dataset.cluster import spread
from nbcnnviz.dataset.many import CHUNK
from nbcnnviz.dataset.patches import written
from nbcnnviz.dataset.scanning import fingerprint
from nbcnnviz.dataset.sources import Source, source_of

Measure = Callable[[Attribution, str], float]
"""From a map and its picture's key to a number: ``lambda r, key: float(nv.metrics.insertion(r.trace, r))``, say."""


@dataclass(frozen=True)
class Measured:
    """A number for each picture.

    Attributes
    ----------
    values : dict[str, float]
        By the picture's key.
    skipped : dict[str, str]
        The keys of the pictures of which there is none, with the reason.
    about : dict
        What was asked.
    """

    values: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Measured: {len(self.values)} pictures, mean {self.mean:.4g}>"

    def __len__(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        """The data set's: of insertion areas the mean area, of hits and misses the accuracy; NaN where there is none."""
        return math.fsum(self.values.values()) / len(self.values) if self.values else math.nan

    def save(self, path: str | PathLike[str]) -> None:
        """Write it as JSON; ExportError if that fails."""
        written(Path(path).expanduser(), json.dumps(asdict(self)).encode())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Measured:
        """Open what `save` wrote; ScanError if it is no such file."""
        try:
            return cls(**json.loads(Path(path).expanduser().read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ScanError(f"{str(path)!r} holds no measures of pictures ({type(error).__name__}).") from error


def measure_many(
    net: Network,
    pictures: Any,
    measure: Measure,
    *,
    method: str = "grad_cam",
    target: int | str | None = None,
    layer: str | None = None,
    store: str | PathLike[str] | None = None,
    client: Any = None,
    **options: Any,
) -> Measured:
    """A number about the map of each picture, and the data set's mean.

    Parameters
    ----------
    net, pictures, method, target, layer, client, **options
        As `nbcnnviz.attribute_many` takes them. Pictures of which there is no map or number are named in ``skipped``.
    measure
        From an `Attribution` and the picture's key to a number. The mean insertion area, and the accuracy of the pointing
        game with the objects' boxes by key::

            measure_many(net, folder, lambda r, key: float(nv.metrics.insertion(r.trace, r)))
            measure_many(net, folder, lambda r, key: float(nv.metrics.pointing(r, boxes[key])))
    store
        A JSON file, written after each part. Where it is there already and of the same question, what it holds is not
        computed again. That the measure is the same it cannot tell.

    Raises
    ------
    ScanError
        If the store holds the answer to another question.
    ImageError
        If there are no pictures, or none of them gave a number.
    """
    source = source_of(pictures)
    target = None if target is None else net.class_index(target)
    about = {
        "method": method,
        "target": target,
        "layer": layer,
        "options": {name: repr(value) for name, value in options.items()},
        "network": fingerprint(net),
        "source": source.fingerprint(),
    }
    path = None if store is None else Path(store).expanduser()
    found = Measured(about=about)
    if path is not None and path.exists():
        found = Measured.load(path)
        if found.about != about:
            raise ScanError(f"{str(store)!r} holds the answer to another question: choose another file.")
    done = found.values.keys() | found.skipped.keys()
    chunks = range(-(-len(source) // CHUNK))
    todo = [c for c in chunks if any(source.key(i) not in done for i in _indices(source, c))]
    shared = (net, source, (method, target, layer, options), measure)
    parts: Iterator[tuple[dict[str, float], dict[str, str]]]
    parts = (measure_chunk(*shared, c) for c in todo) if client is None else spread(client, measure_chunk, shared, todo)
    for values, skipped in parts:
        found.values.update(values)
        found.skipped.update(skipped)
        if path is not None:
            found.save(path)
    if not found.values:
        key, reason = next(iter(found.skipped.items()))
        raise ImageError(f"None of the {len(source)} pictures gave a number; {key!r}: {reason}")
    return found


def measure_chunk(
    net: Network,
    source: Source,
    question: tuple[str, int | None, str | None, dict[str, Any]],
    measure: Measure,
    chunk: int,
) -> tuple[dict[str, float], dict[str, str]]:
    """The numbers of one part of the source, and what has none."""
    method, target, layer, options = question
    values, skipped = {}, {}
    for index in _indices(source, chunk):
        key = source.key(index)
        try:
            result = attribute(net.trace(source[index][0]), method=method, target=target, layer=layer, **options)
            values[key] = float(measure(result, key))
        except ImageError as error:
            skipped[key] = str(error)
        except NbcnnvizError as error:
            skipped[key] = f"{type(error).__name__}: {error}"
    return values, skipped


def _indices(source: Source, chunk: int) -> range:
    return range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(source)))
