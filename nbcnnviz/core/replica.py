"""The user's network again: the same tensors in module objects of our own.

Hooks, evaluation mode and gradients are set on the replica, so the user's modules are never touched, not even for the
length of a forward pass: they may be training in another thread meanwhile. A replica is made for each pass, so that
it shows the network as it is now; it costs a few microseconds a module and no memory, but for the buffers that a
forward pass may write to and for what modules keep as plain attributes, which is copied (see `nbcnnviz.core.mapping`).
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, KeysView
from types import FunctionType, MethodType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nbcnnviz.core.errors import NetworkError
from nbcnnviz.core.mapping import CONTAINERS, PLAIN, Mapper

# What torch itself keeps in a module's ``__dict__``.
_TORCHS = frozenset(nn.Module().__dict__) | {"_compiled_call_impl"}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_REGISTERS = ("_parameters", "_buffers", "_modules")
_FLAGS = ("_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs")


def unwrapped(module: nn.Module) -> nn.Module:
    """The module within the wrappers that hide it: ``DataParallel`` and ``torch.compile``."""
    module = through(module)
    if isinstance(module, torch.jit.ScriptModule):
        raise NetworkError(
            "A TorchScript module hides its layers: give the Python module that it was made from, with its weights."
        )
    return module


def through(module: nn.Module) -> nn.Module:
    """As `unwrapped`, whatever is within."""
    while (within := _wrapped(module)) is not None:
        module = within
    return module


def _wrapped(module: nn.Module) -> nn.Module | None:
    """What a wrapper runs in another way than a plain call; None if ``module`` is no such wrapper."""
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return cast(nn.Module, module.module)
    return None if isinstance(module, torch.jit.ScriptModule) else module._modules.get("_orig_mod")


def replicate(
    module: nn.Module, requires_grad: bool | None = True, channels_last: bool = False
) -> tuple[nn.Module, dict[str, Tensor], Callable[[], None]]:
    """A replica, its parameters by name, and what renews it, to be called before each pass; see `Replica`."""
    replica = Replica(module, requires_grad, channels_last)
    return replica.module, replica.parameters, replica.renew


class Replica:
    """A replica in evaluation mode.

    Every floating-point parameter is a leaf of its own that shares the storage of the user's and requires a
    gradient, or none does, whether the user's are frozen or not; where it does not matter (``requires_grad=None``, which
    is quickest) they are the user's own. With ``channels_last`` the kernels are copies, laid out as a CPU convolves
    quickest what comes to it in that layout. Buffers share the user's storage, but where the module's forward may write
    to them.

    Wrappers that run what they wrap in another way (``torch.compile``, ``DataParallel``) are replaced by one that calls
    it. Modules that are no submodules (in a list, a closure) get replicas too, in the mode in which they are, since
    ``eval()`` does not reach them.

    Parameters
    ----------
    cleared
        Containers and tensors kept as attributes that are to start empty: (module's name, attribute).

    Attributes
    ----------
    module : nn.Module
        The replica.
    parameters : dict[str, Tensor]
        Its parameters, by the names that they have in the user's module.

    Raises
    ------
    NetworkError
        If a submodule is TorchScript, or has no weights yet.
    """

    def __init__(
        self,
        module: nn.Module,
        requires_grad: bool | None = True,
        channels_last: bool = False,
        cleared: Collection[tuple[str, str]] = (),
    ) -> None:
        self._original, self._requires_grad, self._channels_last = module, requires_grad, channels_last
        self._replicas: dict[nn.Module, nn.Module] = {}
        self._leaves: dict[Tensor, Tensor] = {}
        self._memo: dict[int, Any] = {}
        self._odd: list[tuple[nn.Module, list[str]]] = []
        self._plain_types: dict[type, KeysView[str]] = {}
        self._odd_types: dict[type, tuple[bool, dict[str, Any]]] = {}
        self._stateful: list[tuple[nn.Module, nn.Module]] = []
        self._pending: list[nn.Module] = []
        self._compiled = False
        self._mapper = self._new_mapper()
        self.module = self._replica(module, registered=True)
        self._map_attributes()
        self.parameters = {name: self._leaf(p) for name, p in module.named_parameters(remove_duplicate=False)}
        self._cleared = self._named(cleared)
        self._clear()
        self._kept = [(copy, _snapshot(copy)) for _, copy in self._stateful]
        self._fresh = not any(self._odd_type(type(m))[0] and m._buffers for m, _ in self._stateful)

    def own(self) -> Iterator[Tensor]:
        """What a forward pass could write to and is the user's."""
        yield from self._leaves
        yield from (b for m in self._replicas for b in m._buffers.values() if b is not None)
        yield from self._mapper.shared

    @property
    def originals(self) -> dict[int, str]:
        """By ``id``, the parameters and buffers that no call of the replica may use, with their names."""
        names = {id(t): name for name, t in (*self._original.named_parameters(), *self._original.named_buffers())}
        return {**names} if self._requires_grad is not None else {}

    @property
    def rebound(self) -> bool:
        """Whether the module has functions or weak references that `copy.deepcopy` would leave with the original."""
        return self._mapper.rebound > 0 or self._compiled

    @property
    def other_tensors(self) -> list[Tensor]:
        """The tensors that modules keep as plain attributes, as the user's modules have them."""
        return list(self._mapper.copied.values())

    def renew(self) -> None:
        """Take back what the last pass wrote: to be called before each."""
        fresh, self._fresh = self._fresh, False
        if fresh:
            return
        for copy, kept in self._kept:
            _restore(copy, kept)
        copies: dict[Tensor, Tensor] = {}  # a buffer that two modules share stays shared
        for original, copy in self._stateful:
            for name, own in original._buffers.items():
                if own is not None and own not in copies:
                    copies[own] = own.detach().clone()
                copy._buffers[name] = None if own is None else copies[own]
        if self._odd:
            self._memo.update({id(own): copy for own, copy in copies.items()})
            self._mapper = self._new_mapper()
            for original, names in self._odd:
                self._map(original, names)
            self._map_attributes()
            self._clear()

    def _new_mapper(self) -> Mapper:
        # The memo of what one pass can change is dropped with the mapper; modules, parameters and buffers stay. The mapper
        # does not keep the replica, or each would live until a collection of cycles, with all that it copied.
        replica = weakref.proxy(self)
        return Mapper(_Layered(self._memo), lambda m: replica._replica(m, registered=False), lambda p: replica._leaf(p))

    def _leaf(self, parameter: Tensor) -> Tensor:
        known = self._leaves.get(parameter)
        if known is not None:
            return known
        if is_lazy(parameter):
            raise NetworkError(self._lazy(parameter))
        if self._requires_grad is None and not parameter.is_inference():
            leaf = parameter
        else:
            differentiable = bool(self._requires_grad) and (parameter.is_floating_point() or parameter.is_complex())
            own = _usable(parameter.detach())
            if self._channels_last and own.ndim == 4:
                own = own.contiguous(memory_format=torch.channels_last)
            leaf = nn.Parameter(own, requires_grad=differentiable)
        self._leaves[parameter] = self._memo[id(parameter)] = leaf
        return leaf

    def _lazy(self, tensor: Tensor) -> str:
        named = (*self._original.named_parameters(), *self._original.named_buffers())
        name = next((name for name, own in named if own is tensor), "a parameter").rpartition(".")[0]
        return (
            f"Layer {name!r} has no weights yet, since it takes its shape from the first input (a lazy layer): run the "
            "module once on a picture before it is shown."
        )

    def _replica(self, original: nn.Module, registered: bool) -> nn.Module:
        if original in self._replicas:
            return self._replicas[original]
        if isinstance(original, torch.jit.ScriptModule):
            name = next((n for n, m in self._original.named_modules() if m is original), "")
            raise NetworkError(
                f"Submodule {name!r} is TorchScript, which hides its layers: put the Python module that it was made from "
                "in its place, with its weights."
            )
        through = _wrapped(original) is not None
        self._compiled = self._compiled or (through and not registered)
        kind = _Through if through else type(original)
        copy = self._replicas[original] = self._memo[id(original)] = object.__new__(kind)
        theirs = original.__dict__.copy()
        state = copy.__dict__
        if through:
            state.update({name: theirs[name] for name in _TORCHS & theirs.keys()})
        else:
            state.update(theirs)
        state["training"] = False if registered else original.training
        state["_backward_hooks"] = OrderedDict()
        state["_backward_pre_hooks"] = OrderedDict()
        state["_compiled_call_impl"] = None  # what ``module.compile()`` set: it runs the original
        writes = not (through or self._odd_type(kind)[0])
        state["_buffers"] = {n: b if b is None else self._buffer(b, writes) for n, b in original._buffers.items()}
        state["_parameters"] = {n: p if p is None else self._leaf(p) for n, p in original._parameters.items()}
        state["_modules"] = {n: m if m is None else self._replica(m, registered) for n, m in original._modules.items()}
        for name in _HOOKS:
            state[name] = OrderedDict(theirs[name])
            self._memo[id(theirs[name])] = state[name]
        if not through:
            self._pending.append(original)
        elif theirs["_forward_hooks"] or theirs["_forward_pre_hooks"]:
            self._odd.append((original, []))
        return copy

    def _map_attributes(self) -> None:
        """Map the attributes of the modules that are new; these may lead to others."""
        while self._pending:
            original = self._pending.pop()
            ours, inherited = self._odd_type(type(original))
            copy, names = self._replicas[original], self._odd_names(original, ours)
            names += [name for name in inherited if name not in original.__dict__]
            hooked = original._forward_hooks or original._forward_pre_hooks
            if names or hooked:
                self._odd.append((original, names))
                self._map(original, names)
            if names or not ours:
                self._stateful.append((original, copy))
                copy.__dict__["_non_persistent_buffers_set"] = original._non_persistent_buffers_set.copy()
            if isinstance(original, nn.RNNBase):
                _differentiable_on_cuda(copy)

    def _odd_names(self, original: nn.Module, ours: bool) -> list[str]:
        """The attributes of a module that a forward pass may change, or that may lead to other modules."""
        theirs = original.__dict__.copy()
        if ours and theirs.keys() == self._plain_types.get(type(original)):
            return []
        names = [
            name
            for name, value in theirs.items()
            if type(value) not in PLAIN and name not in _TORCHS and not _is_plain(value, lists=ours)
        ]
        if ours and not names:  # another of torch's own modules with the same attributes has none either
            self._plain_types[type(original)] = theirs.keys()
        return names

    def _map(self, original: nn.Module, names: list[str]) -> None:
        state, theirs = self._replicas[original].__dict__, original.__dict__
        _, inherited = self._odd_type(type(original))
        for name in names:
            if name in theirs:
                state[name] = self._mapper.attribute(theirs[name])
            elif name in inherited:
                state[name] = self._inherited(original, inherited[name])
        for name in _HOOKS:
            if theirs[name]:
                state[name].update(self._mapper.hooks(theirs[name]))

    def _inherited(self, original: nn.Module, value: Any) -> Any:
        """What stands in the replica for an attribute of the module's class: a container, or a compiled ``forward``."""
        compiled = getattr(value, "_torchdynamo_orig_callable", None)
        if compiled is None:
            return self._mapper.attribute(value)
        self._compiled = True
        return MethodType(compiled, self._replicas[original])

    def _odd_type(self, kind: type) -> tuple[bool, dict[str, Any]]:
        """Whether a module's class is torch's own, and what else it keeps that is mutable or compiled."""
        if kind not in self._odd_types:
            ours = kind.__module__.startswith("torch.nn.modules.")
            kept: dict[str, Any] = {}
            for parent in () if ours else reversed(kind.__mro__[: kind.__mro__.index(nn.Module)]):
                for name, value in vars(parent).items():
                    kept.pop(name, None)
                    container = type(value) in CONTAINERS and not name.startswith("__")
                    if container or (isinstance(value, FunctionType) and hasattr(value, "_torchdynamo_orig_callable")):
                        kept[name] = value
            self._odd_types[kind] = ours, kept
        return self._odd_types[kind]

    def _buffer(self, buffer: Tensor, writes: bool) -> Tensor:
        if is_lazy(buffer):
            raise NetworkError(self._lazy(buffer))
        if id(buffer) not in self._memo:
            self._memo[id(buffer)] = buffer.detach().clone() if writes else _usable(buffer.detach())
        return cast(Tensor, self._memo[id(buffer)])

    def _named(self, cleared: Collection[tuple[str, str]]) -> list[tuple[nn.Module, str]]:
        modules = dict(self._original.named_modules()) if cleared else {}
        return [(self._replicas[modules[module]], name) for module, name in cleared if module in modules]

    def _clear(self) -> None:
        for copy, name in self._cleared:
            value: Any = copy.__dict__.get(name)
            copy.__dict__[name] = type(value)() if type(value) in (list, dict, set, OrderedDict) else None


class _Through(nn.Module):
    """In the place of a wrapper that runs what it wraps in another way: calls it."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._within(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._within, name)

    @property
    def _within(self) -> nn.Module:
        return cast(nn.Module, next(iter(self._modules.values())))


class _Layered(dict[int, Any]):
    """A memo that looks into a lasting one where it has nothing itself."""

    def __init__(self, lasting: dict[int, Any]) -> None:
        super().__init__()
        self._lasting = lasting

    def get(self, key: int, default: Any = None) -> Any:
        found = self._lasting.get(key, default)
        return super().get(key, default) if found is default else found

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or key in self._lasting


def _snapshot(copy: nn.Module) -> dict[str, Any]:
    """A module's state as it is before a pass; what its forward may put others in the place of, or add to, apart."""
    kept = copy.__dict__.copy()
    for name in (*_REGISTERS, *_FLAGS, "_non_persistent_buffers_set"):
        kept[name] = kept[name].copy()
    return kept


def _restore(copy: nn.Module, kept: dict[str, Any]) -> None:
    state = copy.__dict__
    state.clear()
    state.update(kept)
    for name in (*_REGISTERS, *_FLAGS, "_non_persistent_buffers_set"):
        state[name] = kept[name].copy()


def _is_plain(value: Any, lists: bool) -> bool:
    """Whether a value is a tuple of what no forward pass changes, or (``lists``) a list of such."""
    kind = type(value)
    return (kind is tuple or (lists and kind is list)) and all(type(v) in PLAIN or _is_plain(v, lists) for v in value)


def _differentiable_on_cuda(copy: nn.Module) -> None:
    """Let a recurrent module's backward pass run on CUDA, where cuDNN has one in training mode only.

    Without dropout the two modes compute the same.
    """
    if any(p is not None and p.is_cuda for p in copy._parameters.values()):
        copy.__dict__.update(training=True, dropout=0.0)


def _usable(tensor: Tensor) -> Tensor:
    """A tensor that autograd may keep: itself, but a copy of one that was made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor
