"""What a module's attributes hold, made again for a replica of the module.

A deep copy in which modules, parameters and buffers become the replica's, other tensors copies apart from any graph, and
the cells of closures are filled anew: so that nothing reached from the replica leads back to the user's modules, and
nothing written to it is the user's. What cannot be copied (locks, files, what `pickle` refuses) is shared.
"""

from __future__ import annotations

import functools
import inspect
import logging
import re
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

# Values that no forward pass can change.
PLAIN = frozenset(
    {
        *(type(None), bool, int, float, complex, str, bytes, type, range, slice, type(Ellipsis), type(NotImplemented)),
        *(torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format),
        *(types.ModuleType, types.CodeType, re.Pattern),
    }
)
_SHARED = (
    *(type, Enum, PurePath, np.generic, np.dtype, logging.Logger, property),
    *(torch.optim.Optimizer, torch.utils.data.Dataset, torch.utils.data.DataLoader, torch.jit.ScriptFunction),
    *(torch.fx.Graph, torch.fx.Node),  # linked lists in part out of Python's sight: a copy would never end
)
CONTAINERS = (list, dict, set, deque, OrderedDict, defaultdict)

_OBJECTS = 20_000  # more than a module's state has; an attribute that leads to a trainer and its data is shared
_CLONED = 64 << 20  # bytes; beyond, tensors share the user's memory
_MISSING = object()
_PROXIES = (weakref.ProxyType, weakref.CallableProxyType)


class TooLargeError(Exception):
    """An attribute leads to more objects than a module's state has."""


class Mapper:
    """The deep copy; one serves all attributes of a network, so that what they share stays shared.

    Parameters
    ----------
    memo
        By ``id``, what stands for an object in the replica. Modules, parameters and buffers known are in it already.
    module, parameter
        What makes a replica of a module, a leaf of a parameter, that is not in it.

    Attributes
    ----------
    rebound : int
        How many functions and weak references were made again, since they lead to the network: `copy.deepcopy` would
        leave them with the user's.
    shared : list[Tensor]
        Tensors of the user's that a forward pass could write to, since they were too large to copy.
    copied : dict[int, Tensor]
        By ``id``, the user's tensors that are neither parameters nor buffers.
    """

    def __init__(
        self,
        memo: dict[int, Any],
        module: Callable[[nn.Module], nn.Module],
        parameter: Callable[[nn.Parameter], Tensor],
    ) -> None:
        self._memo, self._module, self._parameter = memo, module, parameter
        self._alive: list[Any] = []  # an ``id`` means something only while the object lives
        self._objects = self._cloned = 0
        self._in_hooks = False
        self.rebound = 0
        self.shared: list[Tensor] = []
        self.copied: dict[int, Tensor] = {}

    def __call__(self, value: Any) -> Any:
        """What stands for ``value`` in the replica."""
        kind = type(value)
        if kind in PLAIN:
            return value
        found = self._memo.get(id(value), _MISSING)
        if found is not _MISSING:
            return found
        if isinstance(value, nn.Module) and kind not in _PROXIES:  # a proxy says that it is one
            return self._module(value)
        self._objects += 1
        if self._objects > _OBJECTS:
            raise TooLargeError
        made = self._made(kind, value)
        self._memo[id(value)] = made
        self._alive.append(value)
        return made

    def attribute(self, value: Any) -> Any:
        """As a call, for one attribute of a module; the value itself if it leads to too many objects."""
        self._objects = 0
        try:
            return self(value)
        except TooLargeError:
            return value

    def hooks(self, hooks: dict[int, Any]) -> OrderedDict[int, Any]:
        """The same hooks for the replica; what they keep outside the network stays the user's own."""
        self._in_hooks = True
        try:
            return OrderedDict(
                (key, self.attribute(hook) if self.reaches(hook) else hook) for key, hook in hooks.items()
            )
        finally:
            self._in_hooks = False

    def _made(self, kind: type, value: Any) -> Any:
        maker = _MAKERS.get(kind)
        if maker is not None:
            return maker(self, value)
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, _SHARED) or inspect.isroutine(value):
            return value
        return self._object(value)

    def _tensor(self, tensor: Tensor) -> Tensor:
        if isinstance(tensor, nn.Parameter):
            return self._parameter(tensor)
        if is_lazy(tensor):
            return tensor
        self.copied[id(tensor)] = tensor
        self._cloned += tensor.nbytes if tensor.layout is torch.strided else 0
        if self._cloned <= _CLONED or tensor.is_inference():
            return tensor.detach().clone()
        self.shared.append(tensor)
        return tensor.detach()

    def _list(self, items: list[Any]) -> list[Any]:
        made: list[Any] = []
        self._memo[id(items)] = made
        made.extend(self(item) for item in list(items))
        return made

    def _tuple(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        made = tuple(self(item) for item in items)
        return items if all(a is b for a, b in zip(made, items, strict=True)) else made

    def _set(self, items: set[Any]) -> set[Any]:
        return {self(item) for item in list(items)}

    def _dict(self, items: dict[Any, Any]) -> dict[Any, Any]:
        made: dict[Any, Any] = defaultdict(items.default_factory) if isinstance(items, defaultdict) else type(items)()
        self._memo[id(items)] = made
        for key, item in list(items.items()):
            made[self(key)] = self(item)
        return made

    def _deque(self, items: deque[Any]) -> deque[Any]:
        made: deque[Any] = deque(maxlen=items.maxlen)
        self._memo[id(items)] = made
        made.extend(self(item) for item in list(items))
        return made

    def _method(self, method: types.MethodType) -> Any:
        return types.MethodType(self(method.__func__), self(method.__self__))

    def _builtin_method(self, method: Any) -> Any:
        owner = method.__self__
        if owner is None or isinstance(owner, (type, types.ModuleType)):
            return method
        return getattr(self(owner), method.__name__)

    def _partial(self, partial: functools.partial[Any]) -> Any:
        keywords = {name: self(value) for name, value in partial.keywords.items()}
        made = functools.partial(self(partial.func), *(self(value) for value in partial.args), **keywords)
        self._memo[id(partial)] = made
        made.__dict__.update({name: self(value) for name, value in partial.__dict__.items()})
        return made

    def _weak(self, reference: weakref.ref[Any]) -> Any:
        target = reference()
        if not self._is_network(target):
            return reference
        self.rebound += 1
        return weakref.ref(self(target))

    def _proxy(self, proxy: Any) -> Any:
        target = getattr(proxy.__repr__, "__self__", None)
        if not self._is_network(target):
            return proxy
        self.rebound += 1
        return weakref.proxy(self(target))

    def _weak_keys(self, items: Any) -> Any:
        made = type(items)()
        self.rebound += 1
        for key, item in list(items.items()):
            made[self(key) if self._is_network(key) else key] = self(item)
        return made

    def _array(self, array: np.ndarray[Any, Any]) -> Any:
        return array.copy()

    def _generator(self, generator: torch.Generator) -> torch.Generator:
        made = torch.Generator(generator.device)
        made.set_state(generator.get_state())
        return made

    def _function(self, function: types.FunctionType) -> Any:
        inner = function.__dict__.get("_torchdynamo_orig_callable")
        if inner is not None:  # compiled: what is within is run in its place
            self.rebound += 1
            return self(inner)
        cells = function.__closure__ or ()
        if not (self.reaches(function) or (not self._in_hooks and any(map(_holds_container, cells)))):
            return function
        self.rebound += 1
        made_cells = tuple(self._memo.get(id(cell)) or types.CellType() for cell in cells)
        names = {name: value for name, value in _globals(function) if self.reaches(value)}
        scope = {**function.__globals__} if names else function.__globals__
        made = types.FunctionType(function.__code__, scope, function.__name__, function.__defaults__, made_cells)
        self._memo[id(function)] = made
        scope.update({name: self(value) for name, value in names.items()})
        made.__defaults__ = self(function.__defaults__)
        made.__kwdefaults__ = self(function.__kwdefaults__)
        made.__qualname__, made.__module__, made.__doc__ = function.__qualname__, function.__module__, function.__doc__
        for cell, made_cell in zip(cells, made_cells, strict=True):
            if id(cell) in self._memo:
                continue
            self._memo[id(cell)] = made_cell
            with suppress(ValueError):  # a cell that is still empty
                kept = self._in_hooks and not self.reaches(cell.cell_contents)
                made_cell.cell_contents = cell.cell_contents if kept else self(cell.cell_contents)
        made.__dict__.update({name: self(value) for name, value in function.__dict__.items()})
        return made

    def _object(self, value: Any) -> Any:
        """An instance of any other class, by the protocol that `copy.deepcopy` follows."""
        try:
            reduced = value.__reduce_ex__(4)
        except Exception:
            return value
        if isinstance(reduced, str):
            return value
        self._alive.append(reduced)
        make, args, state, items, pairs = (*reduced, None, None, None)[:5]
        try:
            made = make(*(self(arg) for arg in args))
            self._memo[id(value)] = made
            self._set_state(made, None if state is None else self(state))
            for item in items or ():
                made.append(self(item))
            for key, item in pairs or ():
                made[self(key)] = self(item)
        except TooLargeError:
            raise
        except Exception:
            return value
        return made

    def _set_state(self, made: Any, state: Any) -> None:
        if state is None:
            return
        if hasattr(made, "__setstate__"):
            made.__setstate__(state)
            return
        state, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
        made.__dict__.update(state or {})
        for name, item in (slots or {}).items():
            object.__setattr__(made, name, item)

    def _is_network(self, value: Any) -> bool:
        return type(value) not in _PROXIES and (isinstance(value, (nn.Module, nn.Parameter)) or id(value) in self._memo)

    def reaches(self, value: Any) -> bool:
        """Whether a module, a parameter or a buffer can be reached from ``value``."""
        stack: list[Any] = [value]
        seen: set[int] = set()
        while stack and len(seen) < _OBJECTS:
            value = stack.pop()
            if type(value) in PLAIN or id(value) in seen:
                continue
            if type(value) in _PROXIES:
                value = getattr(value.__repr__, "__self__", None)
            if isinstance(value, (nn.Module, nn.Parameter)) or isinstance(
                self._memo.get(id(value)), (nn.Module, Tensor)
            ):
                return True
            seen.add(id(value))
            stack.extend(_within(value))
        return False


_MAKERS: dict[type, Callable[[Mapper, Any], Any]] = {
    list: Mapper._list,
    tuple: Mapper._tuple,
    set: Mapper._set,
    frozenset: lambda self, items: frozenset(self._set(items)),
    dict: Mapper._dict,
    OrderedDict: Mapper._dict,
    defaultdict: Mapper._dict,
    deque: Mapper._deque,
    types.FunctionType: Mapper._function,
    types.MethodType: Mapper._method,
    types.BuiltinFunctionType: Mapper._builtin_method,
    types.MethodWrapperType: Mapper._builtin_method,
    functools.partial: Mapper._partial,
    weakref.ref: Mapper._weak,
    **dict.fromkeys(_PROXIES, Mapper._proxy),
    weakref.WeakKeyDictionary: Mapper._weak_keys,
    np.ndarray: Mapper._array,
    torch.Generator: Mapper._generator,
}


def _within(value: Any) -> Iterable[Any]:
    """What an object leads to."""
    if isinstance(value, (Tensor, *_SHARED)):
        return ()
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return list(value)
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if not _is_empty(cell)]
        return [*cells, value.__defaults__, value.__kwdefaults__, value.__dict__, *(v for _, v in _globals(value))]
    if isinstance(value, (types.MethodType, types.BuiltinFunctionType, types.MethodWrapperType)):
        return [getattr(value, "__func__", None), value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values(), value.__dict__]
    if isinstance(value, weakref.ref):
        return [value()]
    return list(getattr(value, "__dict__", {}).values())


def _globals(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """The global variables that a function of the user's reads, less modules, classes and the like."""
    if function.__module__ is None or function.__module__.partition(".")[0] in ("torch", "nbcnnviz"):
        return
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        codes.extend(const for const in code.co_consts if isinstance(const, types.CodeType))
        for name in code.co_names:
            value = function.__globals__.get(name)
            foreign = isinstance(value, types.FunctionType) and value.__globals__ is not function.__globals__
            if (
                type(value) not in PLAIN
                and not isinstance(value, (*_SHARED, types.BuiltinFunctionType))
                and not foreign
            ):
                yield name, value


def _is_empty(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return True
    return False


def _holds_container(cell: Any) -> bool:
    return not _is_empty(cell) and isinstance(cell.cell_contents, CONTAINERS)
