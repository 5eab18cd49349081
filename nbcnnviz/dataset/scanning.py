"""A scan: one forward pass a picture finds, for every channel of every layer asked for, the pictures that fire it most.

The source is cut into chunks. A chunk's result is the same wherever and whenever it is computed, and results merge in
any order to the same: so a scan may be stopped and taken up again, and spread over a cluster.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Generic, ParamSpec

import numpy as np
import torch
from torch import Tensor

from nbcnnviz.core.errors import (
    ImageError,
    MethodNotApplicableError,
    NbcnnvizError,
    ScanError,
    UnknownOptionError,
)
from nbcnnviz.core.grids import arranged
from nbcnnviz.core.network import Network
from nbcnnviz.dataset.counting import Part, ahead, load
from nbcnnviz.dataset.patches import BIN_COUNT, LayerPatches, TopPatches
from nbcnnviz.dataset.sources import Source, source_of
from nbcnnviz.inside import receptive_fields

CHUNK, LEAST = 256, 64
"""How many pictures are one part of a scan, of many pictures and of few: what is lost at the most when it is killed or
stopped, and what travels on a cluster."""

SHOW_EVERY = 1.0
"""Seconds after which a scan in this process says what it knows, also within a chunk."""

_SAVE_EVERY = 30.0

P = ParamSpec("P")


def _stream(
    net: Network,
    pictures: Any,
    *,
    layers: Sequence[str] | str | None = None,
    k: int = 9,
    labels: Sequence[Any] | None = None,
    batch: int = 16,
    checkpoint: str | PathLike[str] | None = None,
    start: TopPatches | None = None,
    client: Any = None,
) -> Generator[TopPatches, None, None]:
    """Find what makes each channel fire: the k strongest pictures, how often it fires, at which values, for which classes.

    Zeiler & Fergus 2014, figure 2, shows nine of them beside the projection of each one's strongest activation.

    Parameters
    ----------
    net
        The network.
    pictures
        A folder, a zip file, the name of a data set that comes along (`nbcnnviz.dataset.datasets`), a list, an array
        (N, H, W, C), a preprocessed tensor (N, C, H, W), a ``torch.utils.data.Dataset`` or a Hugging Face data set. What
        cannot be read is skipped, and named in ``skipped``.
    layers
        Names, or one. Default: every layer that returns maps.
    k
        How many pictures a channel. Default: 9.
    labels
        One a picture, for a list or an array. A folder's sub-folders and a data set's labels are known.
    batch
        Pictures a pass. The same scan with another batch may differ in the last bit of a value.
    checkpoint
        A file, written every half minute and at the end. Where it is there already, and of the same scan, the scan
        goes on from it.
    start
        What a scan that was stopped had found: this one goes on from there.
    client
        A ``dask.distributed.Client``: the chunks run on its workers. Default: here. On Linux, Dask has its workers give
        freed memory back at once, which cost a sixth of the speed where it was measured: raise
        ``distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_`` in its configuration where memory is plenty.

    Returns
    -------
    TopPatches
        The same for any number of workers and any order. ``scan.stream`` takes the same, and gives what is known so far
        after every chunk and every second, with ``step`` and ``steps``; close it to stop. When it is closed, or fails,
        the checkpoint is written.

    Raises
    ------
    ImageError
        If there are no pictures, or none can be read.
    UnknownLayerError, MethodNotApplicableError
        If a layer does not exist, or has no channels.
    ScanError
        If the checkpoint, or ``start``, is of another scan.
    """
    for what, number in (("k", k), ("batch", batch)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise UnknownOptionError(number, (), f"{what} is a whole number, 1 or more.")
    source = source_of(pictures, labels)
    names = chosen_layers(net, layers)
    begin = _empty(net, source, names, k)
    path = None if checkpoint is None else Path(checkpoint).expanduser()
    if start is not None:
        begin = _resumed(start.whole or start, begin, "The result given as start", "leave it out")
    elif path is not None and path.exists():
        begin = _resumed(
            TopPatches.load(path), begin, f"The checkpoint {str(path)!r}", "choose another file, or remove it"
        )
    return _frames(net, source, names, begin, batch, path, client)


def _frames(
    net: Network,
    source: Source,
    names: list[str],
    start: TopPatches,
    batch: int,
    path: Path | None,
    client: Any,
) -> Generator[TopPatches, None, None]:
    todo = [c for c in range(-(-len(source) // chunk_size(len(source)))) if c not in start.chunks]
    parts: Iterator[TopPatches]
    if client is None:
        parts = _here(net, source, names, start, todo, batch)
    else:
        from nbcnnviz.dataset.cluster import spread

        parts = spread(client, scan_chunk, (net, source, names, start), todo, batch)
    result, saved, dirty = start, time.monotonic(), False
    try:
        yield result
        for part in parts:
            together = result.merge(part)
            if not part.chunks:  # which is shown, and not kept: the rest of its chunk is still to come
                yield replace(together, whole=result)
                continue
            result, dirty = together, True
            if path is not None and time.monotonic() - saved > _SAVE_EVERY:
                result.save(path)
                saved, dirty = time.monotonic(), False
            yield result
    finally:
        if hasattr(parts, "close"):
            parts.close()
        if path is not None and dirty:
            result.save(path)


def _here(
    net: Network, source: Source, names: list[str], start: TopPatches, todo: list[int], batch: int
) -> Generator[TopPatches, None, None]:
    for chunk in todo:
        yield from _scanned(net, source, names, start, chunk, batch, SHOW_EVERY)


class _Scan(Generic[P]):
    """The function `scan`, with `stream` beside it, which has the same arguments."""

    def __init__(self, stream: Callable[P, Generator[TopPatches, None, None]]) -> None:
        functools.update_wrapper(self, stream)
        self.__name__ = self.__qualname__ = "scan"
        self.__signature__ = inspect.signature(stream).replace(return_annotation="TopPatches")
        self.stream = stream

    def __call__(self, *args: P.args, **options: P.kwargs) -> TopPatches:
        """The last frame of the stream."""
        (result,) = deque(self.stream(*args, **options), maxlen=1)
        if result.seen == 0:
            key, reason = next(iter(result.skipped.items()))
            raise ImageError(f"None of the {len(result.skipped)} pictures can be used; {key!r}: {reason}")
        return result


scan = _Scan(_stream)


def chunk_size(total: int) -> int:
    """How many pictures are one part of a source of so many: a 32nd, within bounds."""
    return max(LEAST, min(CHUNK, total // 32))


def chosen_layers(net: Network, layers: Sequence[str] | str | None) -> list[str]:
    """The layers asked for; of several names of one output, as of a container and its last module, the one given."""
    if layers is None:
        found = [name for name, layer in net.layers.items() if layer.spatial]
        if not found:
            raise MethodNotApplicableError(f"{net.name} has no layer that returns maps: name the layers to be scanned.")
        return found
    names = [layers] if isinstance(layers, str) else list(layers)
    if not names:
        raise UnknownOptionError("[]", (), "Name one layer or more.")
    for name in names:
        if name not in net.layers:
            raise net.unknown_layer(name)
    return list(dict.fromkeys(names))


def scan_chunk(net: Network, source: Source, names: list[str], start: TopPatches, chunk: int, batch: int) -> TopPatches:
    """The result for one chunk of the source: pictures ``chunk * chunk_size(len(source))`` and those after it."""
    (part,) = _scanned(net, source, names, start, chunk, batch, math.inf)
    return part


def _scanned(
    net: Network, source: Source, names: list[str], start: TopPatches, chunk: int, batch: int, every: float
) -> Iterator[TopPatches]:
    """As `scan_chunk`; ahead of it, every so many seconds, the result so far, which belongs to no chunk yet."""
    size = chunk_size(len(source))
    indices = range(chunk * size, min((chunk + 1) * size, len(source)))
    part = Part(net, source, names, start, chunk)
    due = time.monotonic() + every
    waiting: list[tuple[int, Tensor, str | None]] = []
    loaded = ahead(lambda i: load(net, source, i), indices, 2 * batch)
    with closing(loaded):
        for index, (x, tag, reason) in zip(indices, loaded, strict=True):
            if x is None or reason is not None or (reason := part.misfit(x)) is not None:
                part.skipped[source.key(index)] = reason or "It cannot be read."
                continue
            waiting.append((index, x, tag))
            if len(waiting) == batch:
                part.run(waiting)
                waiting = []
                if time.monotonic() >= due:
                    began = time.monotonic()
                    yield part.result(whole=False)
                    due = time.monotonic() + max(every, 20 * (time.monotonic() - began))
    part.run(waiting)
    yield part.result(whole=True)


def _empty(net: Network, source: Source, names: list[str], k: int) -> TopPatches:
    """The result of no picture at all."""
    shape = source.shape or net.input_shape
    trace = net.trace(torch.zeros(1, *shape), layers=names)
    layers = {}
    for name in names:
        maps = arranged(net, name, trace[name].detach())
        channels, size = maps.shape[1], (tuple(maps.shape[2:]) or (1, 1))
        rows = columns = None
        if maps.ndim == 4:
            try:
                fields = receptive_fields(trace, name)
                rows, columns = np.asarray(fields.rows), np.asarray(fields.columns)
            except NbcnnvizError:  # where it cannot be told the patch is the whole picture
                pass
        layers[name] = LayerPatches(
            order=np.full((channels, k), np.iinfo(np.int64).min),
            places=np.zeros((channels, k), np.int32),
            fired=np.zeros(channels, np.int64),
            histogram=np.zeros((channels, BIN_COUNT), np.int64),
            by_class={},
            size=(int(size[0]), int(size[1])),
            rows=rows,
            columns=columns,
        )
    about = {"network": net.name, "source": source.name, "layers": list(names), "input": list(shape)}
    return TopPatches(layers, k, len(source), 0, {}, {}, frozenset(), fingerprint(net), source.fingerprint(), about)


def fingerprint(net: Network) -> str:
    """What tells one network from another: a hash of its weights, their names and its classes."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(net.module.state_dict().items()):
        if isinstance(tensor, Tensor):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    digest.update(f"{net.input_shape}".encode())
    return digest.hexdigest()


def _resumed(found: TopPatches, begin: TopPatches, what: str, instead: str) -> TopPatches:
    """A result to go on from; ScanError if it is of another scan."""
    names: tuple[tuple[str, Any], ...] = (
        ("another network, or other weights of it", "network"),
        ("other pictures", "source"),
        ("another k", "k"),
    )
    for difference, name in names:
        if getattr(found, name) != getattr(begin, name):
            raise ScanError(f"{what} is of {difference}: {instead}.")
    if set(found.layers) != set(begin.layers):
        raise ScanError(f"{what} is of other layers: {instead}.")
    return found
