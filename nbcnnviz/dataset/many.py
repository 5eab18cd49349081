"""Maps in bulk: one method over many pictures, into a Zarr store that remembers where it stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nbcnnviz.attribution import Attribution, attribute
from nbcnnviz.core.errors import ExportError, FilterRangeError, ImageError, NbcnnvizError, ScanError, UnknownOptionError
from nbcnnviz.core.network import Network
from nbcnnviz.dataset.cluster import spread
from nbcnnviz.dataset.scanning import fingerprint
from nbcnnviz.dataset.sources import Source, source_of

CHUNK = 16
"""How many pictures are one part of the work."""


@dataclass(frozen=True, eq=False)
class AttributionStore:
    """Maps of many pictures, in a Zarr store.

    Attributes
    ----------
    path : pathlib.Path
        The folder.
    about : dict
        What made it: method, target, layer, options, the network's and the source's fingerprints, the version.
    skipped : dict[str, str]
        The keys of the pictures that could not be explained, with the reason.
    """

    path: Path
    about: dict[str, Any]
    skipped: dict[str, str]
    group: Any

    def __repr__(self) -> str:
        return (
            f"<AttributionStore {self.path.name}: {self.about['method']}, {int(self.done.sum())} of {len(self)} maps>"
        )

    def __len__(self) -> int:
        return int(self.about["pictures"])

    @property
    def keys(self) -> list[str]:
        """What the pictures are called in their source."""
        keys: list[str] = json.loads(bytes(self.group["keys"][:]).decode())
        return keys

    @property
    def done(self) -> np.ndarray:
        """Which pictures have a map, (N,) bool."""
        done: np.ndarray = np.asarray(self.group["done"][:]) == 1
        return done

    @property
    def values(self) -> Any:
        """The maps, a Zarr array (N, C, h, w) float32: slices are read when they are asked for."""
        return self.group["values"]

    @property
    def top(self) -> np.ndarray:
        """The class that the network gave each picture, (N,); -1 where it has no map."""
        return np.asarray(self.group["top"][:])

    def attribution(self, net: Network, pictures: Any, index: int) -> Attribution:
        """One map as an `Attribution`, over its picture, which is traced for it.

        Raises
        ------
        ScanError
            If network or pictures are not those that it was made of.
        FilterRangeError
            If there is no such picture, or it has no map.
        """
        source = source_of(pictures)
        if fingerprint(net) != self.about["network"] or source.fingerprint() != self.about["source"]:
            raise ScanError("This store was made of another network, or of other pictures.")
        if not 0 <= index < len(self) or not self.done[index]:
            raise FilterRangeError(f"There is no map of picture {index}.")
        from nbcnnviz.core.targets import ClassScore

        trace = net.trace(source[index][0])
        values = torch.from_numpy(np.asarray(self.values[index])[None]).to(trace.input)
        target = self.about["target"]
        asked = ClassScore(int(self.top[index]) if target is None else target)
        return Attribution(values, asked, self.about["layer"], trace, method=self.about["method"])

    @classmethod
    def open(cls, path: str | PathLike[str]) -> AttributionStore:
        """A store that is there; ScanError if there is none."""
        zarr = _zarr()
        where = Path(path).expanduser()
        try:
            group = zarr.open_group(str(where), mode="r")
            about = json.loads(group.attrs["nbcnnviz"])
        except Exception as error:  # whatever zarr raises at what is none of ours
            raise ScanError(f"There is no store of maps at {str(path)!r}.") from error
        return cls(where, about, json.loads(group.attrs.get("skipped", "{}")), group)


class _AttributeMany:
    """The function `attribute_many`, with `stream` beside it."""

    def __call__(self, net: Network, pictures: Any, *, store: str | PathLike[str], **options: Any) -> AttributionStore:
        """Explain many pictures with one method, and keep the maps in a Zarr store.

        Parameters
        ----------
        net
            The network.
        pictures
            As `nbcnnviz.scan` takes them. What cannot be read is skipped, and named in ``skipped``.
        store
            A folder. Where it holds maps of the same question already, only what is missing is computed.
        method, target, layer
            As `nbcnnviz.attribute` takes them; the target is a class, by index or name, or None for each picture's own.
        client
            A ``dask.distributed.Client``: the work runs on its workers. Default: here.
        **options
            The method's own.

        Returns
        -------
        AttributionStore

        Raises
        ------
        ScanError
            If the store holds the answer to another question.
        ExportError
            If it cannot be written.
        """
        for _ in self.stream(net, pictures, store=store, **options):
            pass
        return AttributionStore.open(store)

    def stream(
        self,
        net: Network,
        pictures: Any,
        *,
        store: str | PathLike[str],
        method: str = "grad_cam",
        target: int | str | None = None,
        layer: str | None = None,
        client: Any = None,
        **options: Any,
    ) -> Iterator[tuple[int, int]]:
        """As `attribute_many`: how many are done, and of how many, after each part. Close it to stop."""
        source = source_of(pictures)
        if target is not None:
            target = net.class_index(target)
        first = _first(net, source, method, target, layer, options)
        about = {
            "method": method,
            "target": target,
            "layer": first.layer,
            "options": {name: repr(value) for name, value in options.items()},
            "network": fingerprint(net),
            "network_name": net.name,
            "source": source.fingerprint(),
            "source_name": source.name,
            "pictures": len(source),
        }
        group = _opened(Path(store).expanduser(), about, source, tuple(first.values.shape[1:]))
        return self._run(net, source, group, about, (method, target, first.layer, options), client)

    def _run(
        self, net: Network, source: Source, group: Any, about: dict[str, Any], question: Any, client: Any
    ) -> Iterator[tuple[int, int]]:
        finished = np.asarray(group["done"][:]) != 0
        todo = [c for c in range(-(-len(source) // CHUNK)) if not finished[c * CHUNK : (c + 1) * CHUNK].all()]
        shared = (net, source, question)
        parts = (
            (explain_chunk(*shared, c) for c in todo) if client is None else spread(client, explain_chunk, shared, todo)
        )
        yield int(finished.sum()), len(source)
        shape = tuple(group["values"].shape[1:])
        for chunk, maps, tops, skipped in parts:
            for at, map_ in enumerate(maps):  # Zarr would cut it to size, or repeat it
                if map_ is not None and map_.shape != shape:
                    skipped[source.key(chunk * CHUNK + at)] = f"Its map is {map_.shape}, and those before are {shape}."
                    maps[at] = None
            try:
                for at, index in enumerate(range(chunk * CHUNK, chunk * CHUNK + len(tops))):
                    if maps[at] is not None:
                        group["values"][index] = maps[at]
                        group["top"][index] = tops[at]
                    group["done"][index] = 1 if maps[at] is not None else 2
                known = json.loads(group.attrs.get("skipped", "{}"))
                group.attrs["skipped"] = json.dumps(known | skipped)
            except OSError as error:
                raise ExportError(f"The store cannot be written ({error.strerror or error}).") from error
            finished[chunk * CHUNK : chunk * CHUNK + len(tops)] = True
            yield int(finished.sum()), len(source)


attribute_many = _AttributeMany()


def explain_chunk(
    net: Network, source: Source, question: tuple[str, int | None, str, dict[str, Any]], chunk: int
) -> tuple[int, list[np.ndarray | None], list[int], dict[str, str]]:
    """The maps of one part of the source, the classes that the network gave, and what could not be explained."""
    method, target, layer, options = question
    maps: list[np.ndarray | None] = []
    tops: list[int] = []
    skipped: dict[str, str] = {}
    for index in range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(source))):
        try:
            trace = net.trace(source[index][0])
            result = attribute(trace, method=method, target=target, layer=layer, **options)
            maps.append(result.values[0].detach().float().cpu().numpy())
            tops.append(int(trace.scores[0].argmax()))
        except Exception as error:  # a data set of the user's may raise anything
            said = str(error) if isinstance(error, NbcnnvizError) else f"{type(error).__name__}: {error}"
            skipped[source.key(index)] = said
            maps.append(None)
            tops.append(-1)
    return chunk, maps, tops, skipped


def _first(
    net: Network, source: Source, method: str, target: Any, layer: str | None, options: dict[str, Any]
) -> Attribution:
    """The map of the first picture that can be read, which tells the shape of all."""
    reason = ""
    for index in range(len(source)):
        try:
            batch = net.batch(source[index][0])
        except NbcnnvizError as error:
            reason = reason or f"{source.key(index)!r}: {error}"
            continue
        return attribute(net, batch, method=method, target=target, layer=layer, **options)
    raise ImageError(f"None of the {len(source)} pictures can be used; {reason}")


def _opened(path: Path, about: dict[str, Any], source: Source, shape: Sequence[int]) -> Any:
    zarr = _zarr()
    if (path / "zarr.json").exists():
        known = AttributionStore.open(path)
        if known.about != about:
            different = sorted(n for n in about if known.about.get(n) != about[n])
            raise ScanError(
                f"The store {str(path)!r} holds the answer to another question ({', '.join(different)}): choose another folder."
            )
        return zarr.open_group(str(path), mode="r+")
    if path.exists() and any(path.iterdir()):
        raise UnknownOptionError(str(path), (), "The store is an empty folder, or one that a run before made.")
    try:
        group = zarr.open_group(str(path), mode="w")
        n = len(source)
        group.create_array("values", shape=(n, *shape), chunks=(1, *shape), dtype="float32", fill_value=float("nan"))
        group.create_array("top", shape=(n,), chunks=(CHUNK,), dtype="int64", fill_value=-1)
        group.create_array("done", shape=(n,), chunks=(CHUNK,), dtype="uint8", fill_value=0)
        # As JSON in bytes: Zarr has no type for texts that other libraries are sure to read.
        keys = np.frombuffer(json.dumps([source.key(i) for i in range(n)]).encode(), np.uint8)
        group.create_array("keys", shape=keys.shape, chunks=keys.shape, dtype="uint8")[:] = keys
        group.attrs["nbcnnviz"] = json.dumps(about)
    except OSError as error:
        raise ExportError(f"The store cannot be written ({error.strerror or error}).") from error
    return group


def _zarr() -> Any:
    try:
        import zarr
    except ImportError as error:
        raise ExportError("Maps in bulk are kept with Zarr: pip install 'nbcnnviz[dataset]'.") from error
    return zarr
