"""Whether a replica computes what its module computes in evaluation mode: found out once, by numbers.

The module itself is not run, since its flags and its state are the user's. What is run is a copy by `copy.deepcopy`, put
into evaluation mode by its own ``eval()``: another way to the same numbers than the replica's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nbcnnviz.core.errors import NetworkError
from nbcnnviz.core.guard import Guard
from nbcnnviz.core.heads import Read, scores_of
from nbcnnviz.core.memory import free_memory
from nbcnnviz.core.precision import full_float32
from nbcnnviz.core.recomputing import RECOMPUTED
from nbcnnviz.core.recording import Habits, Recorder, Recording
from nbcnnviz.core.replica import Replica, through

# By how much scores may differ, relative to the largest: kernels that are chosen otherwise round otherwise.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
_COARSE = 5e-2

# The share of the outputs that may be copied, which costs more than to put what overwrites them beside.
_COPIED = 1 / 8

Run = Callable[[nn.Module, Tensor], Any]


@dataclass(frozen=True)
class Check:
    """What was found.

    Attributes
    ----------
    unchecked
        Why the numbers could not be compared; None if they were, and agreed.
    cleared
        What the module keeps for evaluation mode and throws away when it is put into training: (module's name,
        attribute). A replica starts without it, since it may be of other weights, and has no graph.
    beside, restored
        See `nbcnnviz.core.recording.Habits`.
    """

    unchecked: str | None = None
    cleared: frozenset[tuple[str, str]] = frozenset()
    beside: bool = False
    restored: frozenset[str] | None = None


def check(module: nn.Module, x: Tensor, call: Run, read: Read = scores_of) -> Check:
    """Compare the scores of a replica of ``module`` for a batch ``x``, run by ``call(module, x)``, with a deep copy's.

    ``read`` takes the scores out of what a pass returns for so many pictures.

    Raises
    ------
    NetworkError
        If they differ, or the replica's pass uses a parameter or a buffer of the user's module.
    """
    with torch.inference_mode(False), torch.no_grad(), full_float32(x.device):
        replica = Replica(module)
        scores, overwrites = _scores(replica.module, replica, x, call, read)
        unchecked, cleared, expected = _of_a_twin(module, replica, x, call, read)
        if cleared:
            scores, _ = _scores(Replica(module, cleared=cleared).module, replica, x, call, read)
        if expected is not None:
            _compare(scores, expected, module.training)
        found = Check(unchecked, cleared)
        return _habits_of_overwriting(module, x, call, found, overwrites, lambda output: read(output, len(x)), scores)


def _of_a_twin(
    module: nn.Module, replica: Replica, x: Tensor, call: Run, read: Read
) -> tuple[str | None, frozenset[tuple[str, str]], Tensor | None]:
    """What a deep copy says: why nothing, what its ``train()`` clears, its scores."""
    nothing: frozenset[tuple[str, str]] = frozenset()
    if replica.rebound:
        return "it has functions of its own that lead to its modules, which a deep copy would share", nothing, None
    try:
        twin = _twin(module, replica)
    except Exception as error:
        return f"it cannot be copied ({type(error).__name__})", nothing, None
    if twin is None:
        return "there is not the memory for a copy", nothing, None
    try:
        cleared = _cleared(twin, replica, x, call, read)
        twin = twin if cleared is None else _twin(module, replica)  # that pass may have left state behind
        assert twin is not None
        return None, frozenset(cleared or ()), _scores(twin.train().eval(), replica, x, call, read)[0]
    except Exception as error:
        return f"a deep copy of it fails ({type(error).__name__})", nothing, None


def _habits_of_overwriting(
    module: nn.Module,
    x: Tensor,
    call: Run,
    found: Check,
    overwrites: bool,
    read: Callable[[Any], Tensor],
    scores: Tensor,
) -> Check:
    """With what is to be known of the outputs that the pass overwrites; each habit is found out by itself."""

    def recorded(watched: bool) -> Recording | None:
        with suppress(Exception):
            habits = Habits(cleared=found.cleared)
            recording = Recorder(module, habits=habits, call=call, watched=watched).run(x, False, guarded=True)
            return recording if not recording.lost and torch.equal(read(recording.output), scores) else None
        return None

    watched = recorded(True)
    beside = overwrites and watched is not None and not watched.reads_again
    guarded = watched or recorded(False)
    restored = None
    if guarded is not None and guarded.plain:
        with suppress(Exception):
            restored = _restored(module, x, call, found, guarded)
    return replace(found, beside=beside, restored=restored)


def _restored(module: nn.Module, x: Tensor, call: Run, found: Check, guarded: Recording) -> frozenset[str] | None:
    """The layers whose outputs a pass without a guard overwrites, if they are had again the very same, and cheaply."""
    kept = guarded.activations
    sizes: dict[str, int] = {}
    for name, activation in kept.items():
        sizes.setdefault(name.partition(":")[0], activation.output.nbytes)

    def free(names: Iterable[str]) -> Recording:
        habits = Habits(True, cleared=found.cleared, restored=frozenset(names))
        return Recorder(module, habits=habits, call=call).run(x, False, guarded=False)

    recording = free(name for name, kind in module.named_modules() if isinstance(kind, RECOMPUTED))
    if sum(sizes[name] for name in recording.lost) > _COPIED * sum(sizes.values()):
        return None
    if recording.lost:
        recording = free(recording.overwritten)
    again = {
        name: a.output for name, a in recording.activations.items() if name.partition(":")[0] in recording.overwritten
    }
    exact = all(torch.equal(output, kept[name].output) for name, output in again.items())
    return recording.overwritten if exact and recording.activations.keys() == kept.keys() else None


def _scores(module: nn.Module, replica: Replica, x: Tensor, call: Run, read: Read) -> tuple[Tensor, bool]:
    """The scores of a replica or a twin, and whether it overwrites; what is written that is the user's is taken back."""
    with Guard(lambda _: None, own=replica.own()) as guard, _Watch(replica.originals) as watch:
        output = call(module, x.clone())
    if watch.used is not None:
        raise NetworkError(
            f"A forward pass uses the module's own {watch.used!r}, which it reaches through a global or a class variable, "
            "not through the module: keep what it calls as an attribute of the module."
        )
    return read(output, len(x)), guard.overwrites


class _Watch(TorchFunctionMode):
    """Notes the first of some tensors that a torch call is given."""

    def __init__(self, tensors: Mapping[int, str]) -> None:
        super().__init__()
        self._tensors = tensors
        self.used: str | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.used is None and getattr(func, "__name__", "") != "__get__":
            self.used = next((self._tensors[id(a)] for a in (*args, *kwargs.values()) if id(a) in self._tensors), None)
        return func(*args, **kwargs)


def _twin(module: nn.Module, replica: Replica) -> nn.Module | None:
    """A deep copy of the module; None if there is not the memory for it."""
    tensors = {t.untyped_storage().data_ptr(): t for t in (*module.parameters(), *module.buffers())}
    needed: dict[torch.device, int] = {}
    for tensor in tensors.values():
        needed[tensor.device] = needed.get(tensor.device, 0) + tensor.nbytes
    if any(2 * n > free_memory(device) for device, n in needed.items()):
        return None
    # Tensors of an old graph, which deepcopy refuses.
    memo = {id(t): t.detach().clone() for t in replica.other_tensors if not t.is_leaf}
    twin = copy.deepcopy(module, memo)
    for submodule in list(twin.modules()):
        submodule._modules.update({n: through(m) for n, m in submodule._modules.items() if m is not None})
    return twin.requires_grad_(False)


def _cleared(twin: nn.Module, replica: Replica, x: Tensor, call: Run, read: Read) -> set[tuple[str, str]] | None:
    """Which attributes a pass fills and ``train()`` empties; None if no module has a ``train()`` of its own."""
    if all(type(m).train is nn.Module.train for m in twin.modules()):
        return None
    _scores(twin.train().eval(), replica, x, call, read)
    filled = _sizes(twin)
    emptied = _sizes(twin.train())
    return {key for key, size in filled.items() if emptied.get(key, 0) < size}


def _sizes(module: nn.Module) -> dict[tuple[str, str], int]:
    """How many entries each container has that a module keeps as an attribute; 1 for a tensor."""
    return {
        (name, attribute): 1 if isinstance(value, Tensor) else len(value)
        for name, submodule in module.named_modules()
        for attribute, value in submodule.__dict__.items()
        if not attribute.startswith("_") or isinstance(value, Tensor)
        if isinstance(value, (list, dict, set, Tensor))
    }


def _compare(found: Tensor, expected: Tensor, training: bool) -> None:
    if found.shape == expected.shape:
        difference = float(
            (found - expected).nan_to_num().abs().max() / expected.nan_to_num().abs().max().clamp(min=1e-12)
        )
        same_nan = torch.equal(found.isnan(), expected.isnan())
        if same_nan and difference <= _TOLERANCE.get(found.dtype, _COARSE):
            return
        by = f"by {difference:.2g} of the largest score" if same_nan else "in what is not a number"
    else:
        by = f"in shape: {tuple(found.shape)} against {tuple(expected.shape)}"
    remedy = " Call module.eval() first." if training else ""
    raise NetworkError(
        f"What this package computes for the module differs from what it computes itself in evaluation mode ({by}): it "
        f"keeps modules or state where they cannot be found, or its eval() does more than to set flags.{remedy}"
    )
