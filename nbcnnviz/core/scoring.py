"""Scores of many batches, one after the other, without a graph: of whole pictures, or from a layer on."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from dataclasses import replace as changed
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nbcnnviz.core.errors import ArgumentTypeError, MethodNotApplicableError, NetworkError
from nbcnnviz.core.folding import Prepare as Prepare
from nbcnnviz.core.folding import agree, folding
from nbcnnviz.core.targets.batches import one_by_one
from nbcnnviz.core.trace import Trace

if TYPE_CHECKING:
    from nbcnnviz.core.network import Network
    from nbcnnviz.core.targets import Target

_UNFOLDED = 16
"""How many pictures a scorer takes before it folds: finding out costs the passes of four."""


class Scorer:
    """The scores of one preprocessed batch (N, C, H, W) after the other; made by `Network.scorer`.

    It keeps one replica of the module, with the weights as they are when it is made. A pass has no graph, no hook but on
    the layers that the target looks at, and ends at the last of these where the target needs no more. On a CPU the
    kernels are copies in the layout in which convolutions are quickest. After the first pictures, batch norms are folded
    into the convolutions before them, where that gives two pictures the same scores but for rounding. One thread at a
    time may call it.

    Attributes
    ----------
    folds : int
        How many batch norms are folded so far.
    """

    def __init__(
        self,
        network: Network,
        target: Target | None,
        *,
        channels_last: bool,
        keep: Collection[str] = (),
        pictures: int = 0,
    ) -> None:
        self._network, self._target, self._keep = network, target, keep
        self._channels_last = channels_last
        self._seen, self.folds, self._tried_folding = 0, 0, False
        if pictures >= 2 * _UNFOLDED:  # known to be worth it
            self._seen = _UNFOLDED
        self._folded: Prepare | None = None
        self._make()

    def _make(self) -> None:
        target = self._target
        layers = frozenset() if target is None else target.layers
        stop = bool(layers) and target is not None and not target.whole
        kept = None if layers is None else layers | frozenset(self._keep)
        self._looked_at = kept
        self._recorder = self._network._recorder(kept, stop=stop, channels_last=self._channels_last)

    def __call__(self, x: Tensor) -> Tensor:
        """The target's score of each picture, (N,); without a target the network's scores, (N, K).

        Parameters
        ----------
        x
            A preprocessed batch (N, C, H, W).

        Raises
        ------
        NetworkError
            If the module fails on this batch.
        """
        trace = self.trace(x, self._folding(x))
        if self._seen < _UNFOLDED:
            self._seen += len(x)
        return self.read(trace)

    def _folding(self, x: Tensor) -> Prepare | None:
        """What folds batch norms in a pass; found out once, when enough pictures came to be worth it."""
        if self._seen < _UNFOLDED or self._tried_folding or self._looked_at is None:
            return self._folded
        self._tried_folding = True
        with suppress(Exception):  # a target that cannot be asked of these two pictures, say
            two = x[:2]
            found = folding(lambda prepare: [self.read(self.trace(two, prepare))], self._looked_at)
            if found is not None:
                self._folded, self.folds = found
        return self._folded

    def read(self, trace: Trace) -> Tensor:
        """The target's scores of a trace of this scorer."""
        with torch.no_grad():
            return (trace.scores if self._target is None else one_by_one(self._target, trace)).detach()

    def trace(self, x: Tensor, prepare: Prepare | None = None, pictures: int | None = None) -> Trace:
        """The pass itself, of which no gradient can be taken.

        ``prepare`` may hook the replica's modules, and make more ``pictures`` than ``x`` has on the way.
        """
        network = self._network
        if not isinstance(x, Tensor) or x.ndim != 4:
            raise ArgumentTypeError("A scorer takes a preprocessed batch (N, C, H, W), as Network.batch makes it.")
        x = x.to(network.device, network.dtype)
        if self._channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        try:
            recording = network._recorded(self._recorder, x, differentiable=False, prepare=prepare)
        except NetworkError:
            if not self._channels_last:
                raise
            self._channels_last = False  # a network may ask for another order in memory, by tensor.view say
            self._make()
            return self.trace(x.contiguous(), prepare, pictures)
        if pictures is not None and pictures != len(x):
            recording = changed(recording, input=x[:1].expand(pictures, -1, -1, -1))
        return Trace(network, recording)


class FromLayer:
    """The scores of one picture where a layer's output is another: for a stack of outputs, a batch of scores.

    What comes before the layer is run once, for the one picture, and kept. What comes after gets the stack; where it
    mixes the stack with something from before the layer (a shortcut, a concatenation), that is the one picture's for all.
    That this gives what whole passes give is tried out on two outputs when it is made; if it does not, more is run.

    Attributes
    ----------
    output : Tensor
        The layer's output for the picture as it is, (1, ...), as the layer returns it.
    score : Tensor
        The target's score for it, (1,), or (1, K) without a target.
    cached : bool
        Whether what comes before the layer is kept, and not run each time.
    repeated : bool
        Whether what comes before the layer is there once for each of the stack, and not once for all.
    """

    def __init__(
        self, network: Network, target: Target | None, layer: str, picture: Tensor, channels_last: bool
    ) -> None:
        if len(picture) != 1:
            raise MethodNotApplicableError(f"From a layer on runs one picture, and {len(picture)} were given.")
        self._network, self._layer, self._picture = network, layer, picture
        self._scorer = Scorer(network, target, channels_last=channels_last, keep=(layer,))
        self._name, _, call = layer.partition(":")
        self._call = int(call or 0)
        before = _Before(self._name, self._call)
        trace = self._scorer.trace(picture, before.listen)
        if layer not in trace.layers:
            raise network.unknown_layer(layer, trace.layers)
        self.output, self.score = trace[layer].detach(), self._scorer.read(trace)
        if self.output.shape[:1] != (1,):
            raise MethodNotApplicableError(
                f"Layer {layer!r} returns shape {tuple(self.output.shape)} for one picture: its first axis is not the batch."
            )
        order = list(network.layers)
        looked_at = () if target is None else target.layers
        after = looked_at is not None and all(order.index(name) >= order.index(layer) for name in looked_at)
        self._calls = before.calls if after else None
        self.cached, self.repeated = self._tried()

    def __call__(self, outputs: Tensor) -> Tensor:
        """The target's score for each output of the layer, (B,); without a target (B, K).

        Parameters
        ----------
        outputs
            A stack (B, C, h, w), laid out as `Trace.maps` has the layer's output; or as the layer itself returns it.
        """
        return self._scores(self._as_returned(outputs), self.cached, self.repeated)

    def _as_returned(self, outputs: Tensor) -> Tensor:
        """The stack in the layer's own layout."""
        own = self.output
        outputs = outputs.to(own)
        height, width = self._picture.shape[2:]
        layout = self._network.layout(self._layer, (height, width)) if own.ndim > 2 else None
        maps = own if layout is None else layout.maps(own)
        if layout is not None and outputs.shape[1:] == maps.shape[1:]:
            return layout.returned(outputs, own)
        if outputs.shape[1:] == own.shape[1:]:
            return outputs
        raise MethodNotApplicableError(
            f"Layer {self._layer!r} returns shape {tuple(maps.shape[1:])} for a picture, and the stack has "
            f"{tuple(outputs.shape[1:])}."
        )

    def _tried(self) -> tuple[bool, bool]:
        """The quickest way that gives what whole passes give: whether to keep what comes before, whether to repeat it."""
        two = torch.cat([self.output, self.output / 2])
        expected = self._scores(two, cached=False, repeated=True)
        if not agree(expected[:1], self.score):
            raise MethodNotApplicableError(
                f"{self._network.name} gives one picture other scores than the same picture in a batch: what comes after "
                f"layer {self._layer!r} cannot be run for many outputs at once."
            )
        for cached, repeated in ((True, False), (True, True), (False, False)):
            if cached and self._calls is None:
                continue
            with suppress(NetworkError, MethodNotApplicableError):
                if agree(self._scores(two, cached, repeated), expected):
                    return cached, repeated
        return False, True

    def _scores(self, outputs: Tensor, cached: bool, repeated: bool) -> Tensor:
        count = len(outputs) if repeated else 1
        calls = self._calls if cached else None

        def prepare(modules: dict[str, nn.Module], hooks: ExitStack) -> None:
            replacing = _Replacing(self._call, outputs)
            hooks.callback(modules[self._name].register_forward_hook(replacing.hook).remove)
            if calls:
                _Replay(calls, count, replacing).patch(modules, hooks)

        x = self._picture.expand(count, -1, -1, -1)
        scores = self._scorer.read(self._scorer.trace(x, prepare, len(outputs)))
        if len(scores) != len(outputs):
            raise NetworkError(f"{len(outputs)} outputs of layer {self._layer!r} gave {len(scores)} scores.")
        return scores


class _Replacing:
    """Puts the stack in place of what the layer returned at one call."""

    def __init__(self, call: int, outputs: Tensor) -> None:
        self._left, self._outputs = call, outputs
        self.passed = False

    def hook(self, module: nn.Module, args: Any, output: Any) -> Tensor | None:
        if self.passed or self._left:
            self._left -= 1
            return None
        self.passed = True
        return self._outputs.clone()  # the network may write over it


class _Before:
    """Listens to one pass: which calls of modules, none within another, are over when the layer returns, and its own."""

    def __init__(self, name: str, call: int) -> None:
        self._name, self._left = name, call
        self._open: list[list[tuple[str, Any]]] = [[]]
        self.calls: list[tuple[str, Any]] | None = None
        self._over = False

    def listen(self, modules: dict[str, nn.Module], hooks: ExitStack) -> None:
        for name, module in modules.items():
            hooks.callback(module.register_forward_pre_hook(self._begin).remove)
            hooks.callback(module.register_forward_hook(self._end(name)).remove)

    def _begin(self, module: nn.Module, args: Any) -> None:
        if not self._over:
            self._open.append([])

    def _end(self, name: str) -> Any:
        def end(module: nn.Module, args: Any, output: Any) -> None:
            if self._over:
                return
            self._open.pop()
            if name == self._name:
                self._over = self._left == 0
                self._left -= 1
            if self._over:
                # The layer's own call among them: what it returned is replaced, and need not be computed.
                calls = [*(call for opened in self._open for call in opened), (name, _kept(output))]
                self.calls = calls if all(kept is not None for _, kept in calls) else None
                self._open = []
            else:
                self._open[-1].append((name, _kept(output)))

        return end


class _Replay:
    """In place of the calls before the layer: what they returned, in the same order."""

    def __init__(self, calls: list[tuple[str, Any]], count: int, replacing: _Replacing) -> None:
        self._calls, self._count, self._replacing = calls, count, replacing
        self._at = 0

    def patch(self, modules: dict[str, nn.Module], hooks: ExitStack) -> None:
        for name in dict.fromkeys(name for name, _ in self._calls):
            module = modules[name]
            own = module.__dict__.get("forward")
            module.__dict__["forward"] = self._forward(name, module.forward)
            hooks.callback(_put_back, module, own)

    def _forward(self, name: str, own: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            if self._replacing.passed or self._at >= len(self._calls):
                return own(*args, **kwargs)
            called, output = self._calls[self._at]
            if called != name:
                raise NetworkError(f"The module called {called!r} before, and {name!r} now.")
            self._at += 1
            return _repeated(output, self._count)

        return forward


def _put_back(module: nn.Module, own: Any) -> None:
    if own is None:
        del module.__dict__["forward"]
    else:
        module.__dict__["forward"] = own


def _kept(output: Any) -> Any:
    """A copy of what a module returned, tensors for one picture; None for what is something else."""
    if isinstance(output, Tensor):
        return output.detach().clone() if output.shape[:1] == (1,) else None
    if type(output) in (tuple, list):
        parts = [_kept(part) for part in output]
        return None if any(part is None for part in parts) else type(output)(parts)
    return None


def _repeated(output: Any, count: int) -> Any:
    """What was kept, for so many pictures; copies, since the network may write over them."""
    if isinstance(output, Tensor):
        return output.expand(count, *output.shape[1:]).clone()
    return type(output)(_repeated(part, count) for part in output)
