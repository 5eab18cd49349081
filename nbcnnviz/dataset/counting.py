"""What is counted of the pictures of one chunk, as they pass through the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from nbcnnviz.core.errors import NbcnnvizError, NetworkError
from nbcnnviz.core.grids import arranged
from nbcnnviz.core.network import Network
from nbcnnviz.core.observing import Observer
from nbcnnviz.dataset.patches import LayerPatches, TopPatches, bins_of, fixed, sortable
from nbcnnviz.dataset.sources import Source

_DECODERS = 2

T = TypeVar("T")


class Part:
    """What is known of one chunk."""

    def __init__(self, net: Network, source: Source, names: list[str], start: TopPatches, chunk: int) -> None:
        self._net, self._source, self._start, self._chunk = net, source, start, chunk
        self._counts = {name: _Counts() for name in names}
        self._observer = Observer(net, names, lambda name, out: self._counts[name].add(arranged(net, name, out)))
        self._shape = tuple(start.about["input"])
        self._seen: list[int] = []
        self._tags: list[str | None] = []
        self.skipped: dict[str, str] = {}

    def misfit(self, x: Tensor) -> str | None:
        """Why a picture cannot be one of these, None if it can."""
        if tuple(x.shape[1:]) == self._shape:
            return None
        return f"The preprocess makes {tuple(x.shape[1:])} of it, and this scan is of {self._shape}."

    def run(self, pictures: list[tuple[int, Tensor, str | None]]) -> None:
        """Look at pictures: their numbers, what the network takes, their labels."""
        if pictures:
            self._observer(torch.cat([x for _, x, _ in pictures]).to(self._net.device, self._net.dtype))
            self._seen.extend(i for i, _, _ in pictures)
            self._tags.extend(tag for _, _, tag in pictures)

    def result(self, whole: bool) -> TopPatches:
        """The result for what was looked at; of no chunk as long as it is not whole."""
        start, seen = self._start, np.array(self._seen, np.int64)
        layers = {n: c.result(start.layers[n], start.k, seen, self._tags) for n, c in self._counts.items()}
        used = {int(i) for layer in layers.values() for i in np.unique(layer.pictures)} - {-1}
        return replace(
            start,
            layers=layers,
            seen=len(seen),
            skipped=dict(self.skipped),
            keys={i: self._source.key(i) for i in sorted(used)},
            chunks=frozenset({self._chunk} if whole else ()),
        )


class _Counts:
    """What a chunk's pictures did in one layer, picture by picture."""

    def __init__(self) -> None:
        self._values: list[np.ndarray] = []
        self._places: list[np.ndarray] = []
        self._size = (1, 1)

    def add(self, maps: Tensor) -> None:
        """Take down the strongest activation of every channel, (N, C, h, w) or (N, C)."""
        if maps.ndim == 2:
            maps = maps[:, :, None, None]
        self._size = (maps.shape[2], maps.shape[3])
        values, places = maps.flatten(2).max(2)
        # NaN is no activation; and zero is zero, whatever its sign.
        self._values.append((values.float().nan_to_num(-torch.inf, None, None) + 0.0).cpu().numpy())
        self._places.append(places.to(torch.int32).cpu().numpy())

    def result(self, empty: LayerPatches, k: int, pictures: np.ndarray, tags: list[str | None]) -> LayerPatches:
        """The counts, of pictures of these numbers and labels."""
        if not self._values:
            return empty
        if self._size != empty.size:
            raise NetworkError(
                f"The layer's maps are {self._size} for these pictures, and {empty.size} for the network's own."
            )
        values, places = np.concatenate(self._values), np.concatenate(self._places)  # (n, C)
        order = (sortable(values).astype(np.int64) << 32) | (0xFFFFFFFF - pictures)[:, None]
        kept = min(k, len(order))
        best = np.argpartition(order, len(order) - kept, axis=0)[len(order) - kept :]
        top = np.take_along_axis(order, best, 0)
        by_value = np.argsort(-1 - top, axis=0, kind="stable")
        top, best = np.take_along_axis(top, by_value, 0), np.take_along_axis(best, by_value, 0)
        out = empty.order.copy(), empty.places.copy()
        out[0][:, :kept], out[1][:, :kept] = top.T, np.take_along_axis(places, best, 0).T
        histogram = np.zeros_like(empty.histogram)
        channels = np.broadcast_to(np.arange(values.shape[1]), values.shape)
        np.add.at(histogram, (channels.ravel(), bins_of(values).ravel()), 1)
        by_class = {}
        for tag in sorted({tag for tag in tags if tag is not None}):
            these = np.array([t == tag for t in tags])
            by_class[tag] = (int(these.sum()), fixed(values[these]).sum(0))
        return replace(
            empty,
            order=out[0],
            places=out[1],
            fired=(values > 0).sum(0).astype(np.int64),
            histogram=histogram,
            by_class=by_class,
        )


def ahead(open_: Callable[[int], T], indices: range, depth: int) -> Generator[T, None, None]:
    """What is loaded, in order, by threads that are so many ahead; closing it loads no more."""
    with ThreadPoolExecutor(_DECODERS) as pool:
        loading: deque[Future[T]] = deque()
        try:
            for index in indices:
                loading.append(pool.submit(open_, index))
                if len(loading) > depth:
                    yield loading.popleft().result()
            while loading:
                yield loading.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def load(net: Network, source: Source, index: int) -> tuple[Tensor | None, str | None, str | None]:
    """A picture as the network takes it, and its label; or the reason why not."""
    try:
        picture, label = source[index]
        return net.batch(picture), label, None
    except NbcnnvizError as error:
        return None, None, str(error)
    except Exception as error:  # a data set of the user's may raise anything
        return None, None, f"{type(error).__name__}: {error}"
