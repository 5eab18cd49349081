"""One forward pass, with every layer's output kept as it was when the layer returned it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from nbcnnviz.core.errors import NetworkError
from nbcnnviz.core.folding import Prepare
from nbcnnviz.core.guard import Guard, storage
from nbcnnviz.core.precision import full_float32
from nbcnnviz.core.recomputing import Restored, restored
from nbcnnviz.core.replica import Replica

Watch = Callable[[str, nn.Module, Any, Tensor], None]


class Activation:
    """What a module returned at one call.

    Parameters
    ----------
    output
        The tensor, as it is now.
    edge
        See below.
    again
        What gives the output as it was, if the pass goes on to overwrite it.

    Attributes
    ----------
    edge : GradientEdge or None
        Where the gradient with respect to it arrives, whatever overwrote the tensor since. None if nothing that
        requires a gradient led to it.
    """

    __slots__ = ("_again", "_output", "_version", "edge")

    def __init__(self, output: Tensor, edge: GradientEdge | None, again: Restored | None = None) -> None:
        self._output, self._again, self._version = output, again, _version(output)
        self.edge = edge

    @property
    def output(self) -> Tensor:
        """The tensor, part of the autograd graph. If the pass went on to overwrite it, one that equals it.

        Raises
        ------
        StaleTraceError
            If it was overwritten, and what it is computed from as well.
        """
        again = self._again
        if again is not None and self.overwritten:
            self._put(again())
        return self._output

    @property
    def shape(self) -> torch.Size:
        """Its shape, which nothing changes."""
        return self._output.shape

    @property
    def overwritten(self) -> bool:
        """Whether the tensor holds something else now."""
        return self._version != _version(self._output)

    @property
    def lost(self) -> bool:
        """Whether it was overwritten and is not to be had again."""
        return self.overwritten and (self._again is None or getattr(self._again, "lost", False))

    def is_of(self, output: Tensor) -> bool:
        """Whether this is the record of ``output`` as it is now."""
        return self._output is output and not self.overwritten

    def save(self) -> None:
        """Copy it, since it is about to be overwritten."""
        if not self.overwritten:
            self._put(self._output.clone())

    def _put(self, output: Tensor) -> None:
        self._output, self._version, self._again = output, _version(output), None


@dataclass(frozen=True)
class Recording:
    """A forward pass: the leaf it started from, its output, and the layers it went through, in order of return.

    The output is None where the pass stopped before it. ``plain`` says that the pass did nothing that the guard had to
    undo or to do otherwise, ``sets_grad_mode`` that it turned gradients on or off itself, ``reads_again`` that it read
    what it had overwritten, if that was watched. ``overwritten`` names the layers whose outputs were overwritten, ``lost`` those of them that are
    not to be had again.
    """

    input: Tensor
    output: Any
    activations: Mapping[str, Activation]
    parameters: Mapping[str, Tensor]
    plain: bool
    sets_grad_mode: bool = False
    reads_again: bool = False
    overwritten: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Habits:
    """What was found out about a module, so that its passes can be quicker, or have to be run otherwise.

    Attributes
    ----------
    plain
        Whether it does nothing that the guard would undo. Where no layer's output needs it either, the guard is left
        out: it takes some microseconds a call.
    sets_grad_mode
        Whether it turns gradients on or off itself.
    beside
        Whether what a rectifier or an operator overwrites may be left as it was; see `nbcnnviz.core.guard.Guard`.
    cleared
        See `nbcnnviz.core.replica.Replica`.
    restored
        The layers whose outputs the module overwrites, and which are had again without a guard
        (`nbcnnviz.core.recomputing`): for a module that is plain too, it is left out. None where it is needed.
    """

    plain: bool = False
    sets_grad_mode: bool = False
    beside: bool = False
    cleared: frozenset[tuple[str, str]] = frozenset()
    restored: frozenset[str] | None = None


_UNKNOWN = Habits()
_KEY = -1  # of the hooks here, which are many: torch's handles count from zero


class Recorder:
    """Runs ``module`` in evaluation mode and keeps what its layers return, as often as asked, on one replica of it.

    The module, its hooks and flags, its buffers and the global random state are as before when a pass returns or raises.

    Parameters
    ----------
    layers
        Names of the modules to keep; None keeps all.
    parameters
        Whether parameters require a gradient too, or the input alone.
    stop
        Whether to end the pass as soon as the last of ``layers`` has returned; the recording then has no output.
    from_layers
        Whether the graph begins at the first of ``layers`` to return, and what comes before it has none.
    habits
        What is known of the module.
    channels_last
        Whether the replica's kernels are copies laid out so.
    call
        How the replica is run on a batch, ``call(replica, x)``. Default: ``replica(x)``.
    watched
        Whether to leave what rectifiers and operators overwrite as it was, and to find out if that is right.
    watch
        Told of every module's output as it returns: its name, the module, what it was given, and the tensor.
    tf32
        Whether a GPU may compute convolutions in TF32, if torch is set so; see `nbcnnviz.core.precision`.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Collection[str] | None = None,
        *,
        parameters: bool = True,
        stop: bool = False,
        from_layers: bool = False,
        habits: Habits = _UNKNOWN,
        channels_last: bool = False,
        call: Callable[[nn.Module, Tensor], Any] | None = None,
        watched: bool = False,
        watch: Watch | None = None,
        tf32: bool = False,
    ) -> None:
        self._call = call or _plainly
        with torch.inference_mode(False):
            # Where gradients are off until the first layer, whether parameters require one does not matter, unless the
            # module turns them on itself.
            requires_grad = parameters if not from_layers else False if habits.sets_grad_mode else None
            self._replica = replica = Replica(module, requires_grad, channels_last, habits.cleared)
        names = None if layers is None else {called.partition(":")[0] for called in layers}
        self._kept = [(n, m) for n, m in replica.module.named_modules() if n and (watch or names is None or n in names)]
        self._layers, self._stop = frozenset(layers or ()), stop
        self._from_layers, self._always_on = from_layers, habits.sets_grad_mode
        self._beside, self._watched = habits.beside, watched
        self._watch, self._names, self._tf32 = watch, names, tf32
        # Of the layer where the graph begins the network gets a copy; nothing can write over what is kept of it.
        # So it is of the layer where the pass ends.
        one_call = (from_layers or stop) and len(self._layers) == 1 and not any(":" in name for name in self._layers)
        self._guarded = not habits.plain or not (one_call or names == set() or habits.restored is not None)
        self._restored = habits.restored or frozenset()

    def __call__(
        self,
        x: Tensor,
        differentiable: bool = True,
        prepare: Prepare | None = None,
    ) -> Recording:
        """The forward pass of ``x`` (N, C, H, W), with the autograd graph if it is to be ``differentiable``.

        ``prepare(modules, hooks)`` may hook modules of the replica, before the hooks that keep what they return; what it
        enters in ``hooks`` takes its hooks away again.
        """
        # What watches the torch functions of a pass is to see where each value comes from.
        if not self._guarded and not torch._C._len_torch_function_stack():
            recording = self.run(x, differentiable, prepare, guarded=False)
            if not recording.lost:
                return recording
        recording = self.run(x, differentiable, prepare, guarded=True)
        if recording.lost:
            raise NetworkError(
                f"The output of layer {min(recording.lost)!r} was overwritten by an operation that torch functions do "
                "not show (a compiled kernel that works in place?): run the network without it."
            )
        return recording

    def run(self, x: Tensor, differentiable: bool, prepare: Prepare | None = None, *, guarded: bool) -> Recording:
        """As a call, with a guard or without; what it lost is in the recording."""
        pass_ = _Pass(self._layers, self._stop, self._from_layers and differentiable, self._always_on)
        pass_.watch, pass_.names = self._watch, self._names
        guard = None
        if guarded:
            beside = pass_.keeps if self._beside or self._watched else None
            guard = Guard(pass_.before_write, self._replica.own(), beside, self._watched)
        else:
            pass_.restored = self._restored
        grad_mode = differentiable and (not self._from_layers or self._always_on)
        differentiable = differentiable and not self._from_layers
        # Inference mode would give tensors that autograd refuses, grad mode off a pass without a graph.
        with torch.inference_mode(False), torch.set_grad_enabled(grad_mode), ExitStack() as hooks:
            self._replica.renew()
            if prepare is not None:
                prepare(dict(self._replica.module.named_modules()), hooks)
            hooks.callback(self._take_away)
            for name, module in self._kept:
                module._forward_hooks[_KEY] = pass_.hook(name)
            leaf = x.detach().clone().requires_grad_(differentiable)
            output = None
            with suppress(Enough), guard or nullcontext(), full_float32(x.device, not self._tf32):
                output = self._call(
                    self._replica.module, leaf.clone()
                )  # a clone, since a network may write over its input
        return Recording(
            leaf,
            output,
            pass_.named(),
            self._replica.parameters,
            plain=guard is None or guard.idle,
            sets_grad_mode=guard is not None and guard.sets_grad_mode,
            reads_again=guard is not None and guard.reads_again,
            overwritten=pass_.named_where(lambda activation: activation.overwritten),
            lost=pass_.named_where(lambda activation: activation.lost),
        )

    def _take_away(self) -> None:
        for _, module in self._kept:
            module._forward_hooks.pop(_KEY, None)


def _version(tensor: Tensor) -> int:
    """How often a tensor was written to; in inference mode torch does not count."""
    return 0 if tensor.is_inference() else tensor._version


def _plainly(module: nn.Module, x: Tensor) -> Any:
    return module(x)


class Enough(BaseException):
    """Ends a forward pass that has returned all it was run for; no Exception, so that no network catches it."""


class _Pass:
    """What the hooks of one forward pass share."""

    def __init__(self, layers: Collection[str], stop: bool, root: bool, grad_mode_is_set: bool) -> None:
        self.watch: Watch | None = None
        self.names: Collection[str] | None = None  # of the layers to keep; None keeps all
        self._calls: list[tuple[str, Activation]] = []
        self._by_storage: dict[int, list[Activation]] = {}
        self._count: Counter[str] = Counter()
        self._awaited = set(layers) if stop else None
        self._root = root  # whether the graph is still to begin
        # Whether gradients are off where the module turned them off, and not for want of a beginning.
        self._grad_mode_is_set = grad_mode_is_set
        self._called_by_number = {called.partition(":")[0] for called in layers if ":" in called}
        self.restored: Collection[str] = ()  # the layers whose outputs are overwritten

    def hook(self, name: str) -> Any:
        def keep(module: nn.Module, args: Any, output: Any) -> Tensor | None:
            # What is asked of a tensor here would go through the guard, each time.
            with torch._C.DisableTorchFunction():
                root = None
                kept = self.names is None or name in self.names
                if isinstance(output, Tensor) and output.is_floating_point():
                    on = torch.is_grad_enabled() or not self._grad_mode_is_set
                    if self._root and kept and on and not output.is_inference():
                        self._root = False
                        torch.set_grad_enabled(True)  # until the pass ends: it runs within a context that sets it back
                        output = output.detach().requires_grad_()
                        root = output.clone()  # a leaf must not be written over
                    if kept:
                        self._calls.append((name, self._activation(output, name, module, args)))
                    if self.watch is not None:
                        with torch.no_grad():
                            self.watch(name, module, args, output if root is None else root)
            if self._awaited is not None:
                self._awaited -= {name, f"{name}:{self._count[name]}"}
                self._count[name] += 1
                if not self._awaited:
                    raise Enough
            return root

        return keep

    def _activation(self, output: Tensor, name: str, module: nn.Module, args: Any) -> Activation:
        """The record of ``output``: the one it has, if an inner module returned the same tensor."""
        beside = self._by_storage.setdefault(storage(output), [])
        for activation in beside:
            if activation.is_of(output):
                return activation
        # A view of a parameter made while gradients are off says that it requires one, and has no place in the graph.
        linked = output.requires_grad and (output.grad_fn is not None or not output._is_view())
        edge = get_gradient_edge(output) if linked else None
        again = restored(module, args, output) if name in self.restored else None
        beside.append(Activation(output, edge, again))
        return beside[-1]

    def keeps(self, tensor: Tensor) -> bool:
        """Whether an output that was kept shares memory with ``tensor``, as it is now."""
        return any(not activation.overwritten for activation in self._by_storage.get(storage(tensor), ()))

    def before_write(self, tensor: Tensor) -> None:
        """Copy every output kept so far that shares memory with ``tensor``."""
        for activation in self._by_storage.pop(storage(tensor), ()):
            activation.save()

    def named_where(self, holds: Callable[[Activation], bool]) -> frozenset[str]:
        """The layers of whose records something holds."""
        return frozenset(name for name, activation in self._calls if holds(activation))

    def named(self) -> dict[str, Activation]:
        """The records by layer name, in order of return; a module called many times has ``:call`` behind its name."""
        total = Counter(name for name, _ in self._calls)
        seen: Counter[str] = Counter()
        named = {}
        for name, activation in self._calls:
            numbered = total[name] > 1 or name in self._called_by_number
            named[f"{name}:{seen[name]}" if numbered else name] = activation
            seen[name] += 1
        return named
