"""Traces of many batches, one after the other, of which only the input has a gradient."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nbcnnviz.core.folding import Prepare, folding, unstrided
from nbcnnviz.core.trace import Trace

if TYPE_CHECKING:
    from nbcnnviz.core.network import Network

WORTH = 16
"""Pictures from which on it is worth to find out what can be folded: that costs the forward passes of four."""


class Tracer:
    """Traces one preprocessed batch (N, C, H, W) after the other; made by `Network.tracer`.

    Attributes
    ----------
    folds : int
        How many batch norms are folded into the convolutions before them so far.
    """

    def __init__(
        self,
        network: Network,
        layers: Collection[str] | None,
        *,
        stop: bool,
        channels_last: bool,
        tf32: bool = False,
        pictures: int | None = None,
        once: bool = False,
    ) -> None:
        self._network, self._layers, self._once = network, layers, once
        self._recorder = network._recorder(layers, stop=stop, channels_last=channels_last, tf32=tf32)
        self._to_fold = pictures is not None and pictures >= WORTH and layers is not None
        self._prepare: Prepare | None = None
        self.folds = 0

    def __call__(self, x: Tensor) -> Trace:
        """The pass of a batch, with its graph.

        Raises
        ------
        NetworkError
            If the module fails on this batch.
        """
        if self._to_fold:
            self._fold(x[:2])
        return Trace(self._network, self._network._recorded(self._recorder, x, prepare=self._prepare), self._once)

    def _fold(self, two: Tensor) -> None:
        """Find out, by the first pictures, what can be folded."""
        self._to_fold = False

        def given(prepare: Prepare) -> list[Tensor]:
            recording = self._network._recorded(self._recorder, two, differentiable=False, prepare=prepare)
            trace = Trace(self._network, recording)
            return [*([trace.scores] if trace.whole else []), *(trace[layer] for layer in trace.layers)]

        with suppress(Exception), torch.no_grad():  # the pass itself will tell of what the network raises
            found = folding(given, self._layers or ())
            folds, self.folds = found or (None, 0)
            self._prepare = folds if two.is_cuda else _both(folds)


def _both(folds: Prepare | None) -> Prepare:
    """What folds batch norms, and a CPU's convolutions without a stride."""

    def prepare(modules: dict[str, nn.Module], hooks: ExitStack) -> None:
        if folds is not None:
            folds(modules, hooks)
        unstrided(modules, hooks)

    return prepare
