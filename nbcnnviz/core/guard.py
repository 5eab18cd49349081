"""Keep what a forward pass is about to overwrite.

In-place calls make a layer's output hold what came after it, write to buffers, move the global random state. The guard
sees every torch call of the pass before it runs and, for the few that overwrite something of ours, copies that first;
a call that overwrites nothing costs about a microsecond.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable
from functools import cache
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

# fmt: off
_RECTIFIERS = frozenset({
    "relu", "relu6", "hardtanh", "leaky_relu", "elu", "celu", "selu", "silu", "mish", "hardswish", "threshold",
    "rrelu", "clamp", "clamp_min",
})
_DRAWS = frozenset({
    "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "bernoulli", "normal", "poisson",
    "multinomial", "bernoulli_", "normal_", "uniform_", "random_", "exponential_", "geometric_", "cauchy_",
    "log_normal_", "dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout",
    "feature_alpha_dropout", "rrelu", "rrelu_", "gumbel_softmax", "fractional_max_pool2d",
})
# fmt: on


# By the names under which torch functions show ``+=`` and its kin.
_OPERATORS = {
    **{"add_": operator.add, "sub_": operator.sub, "mul_": operator.mul},
    **{"__iadd__": operator.add, "__isub__": operator.sub, "__imul__": operator.mul},
}
_SET_GRAD_MODE = torch._C._set_grad_enabled


class Guard(TorchFunctionMode):
    """Watch a forward pass: call ``before_write(tensor)`` ahead of every in-place call, and undo what must not last.

    Parameters
    ----------
    before_write
        Told of every tensor about to be overwritten.
    own
        The network's parameters and buffers; what is written to them is taken back when the pass ends.
    beside
        Told of a tensor that a rectifier or an operator (``+=``) is about to overwrite; where it says so, the result is
        put into memory of its own, which costs less than a copy and an overwriting. Right only where the network goes on
        with what the call returns, and does not read the tensor again. None overwrites always.
    watched
        Whether to find out if the network reads again what was left as it was.

    Attributes
    ----------
    idle : bool
        Whether nothing was done so far that had to be undone, or done otherwise.
    sets_grad_mode : bool
        Whether the pass turned gradients on or off itself.
    overwrites : bool
        Whether there was a call for ``beside`` to be told of.
    reads_again : bool
        Whether a tensor that was left as it was, was given to a later call, if ``watched``.
    """

    def __init__(
        self,
        before_write: Callable[[Tensor], None],
        own: Iterable[Tensor],
        beside: Callable[[Tensor], bool] | None = None,
        watched: bool = False,
    ) -> None:
        super().__init__()
        self._beside, self._watched = beside, watched
        self._left: dict[int, Tensor] = {}
        self.overwrites = self.reads_again = False
        self._before_write = before_write
        self._own = own
        self._own_storages: dict[int, list[Tensor]] | None = None
        self._saved: dict[int, tuple[Tensor, Tensor]] = {}
        self._random_state: tuple[Tensor, list[Tensor]] | None = None
        self._rewrote = False
        self.sets_grad_mode = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is _SET_GRAD_MODE:
            self.sets_grad_mode = True
        writes, inplace_at, draws, training_at = _habits(func)
        if self._watched and self._left and not self.reads_again:
            self.reads_again = func.__name__ != "__get__" and any(map(self._was_left, (*args, *kwargs.values())))
        if draws and training_at is not None:  # dropout that is off draws nothing
            draws = _argument(args, kwargs, "training", training_at)
        if draws and self._random_state is None:
            self._random_state = _random_state()
        if "out" in kwargs:
            self._keep(kwargs["out"])
        elif writes or (inplace_at is not None and _argument(args, kwargs, "inplace", inplace_at)):
            target = args[0] if args else kwargs.get("input")
            name = func.__name__
            if (name in _OPERATORS if writes else name in _RECTIFIERS) and isinstance(target, Tensor):
                self.overwrites = True
                if self._beside is not None and not target._is_view() and self._beside(target):
                    result = self._put_beside(func, writes, target, args, kwargs)
                    if result is not None:
                        return result
            self._keep(target)
            if isinstance(target, Tensor) and target._is_view() and func.__name__.strip("_") in _RECTIFIERS:
                self._rewrote = True
                return target.copy_(_beside(func, writes, target.clone(), args, kwargs))
        elif func in _STATISTICS and _argument(args, kwargs, *_STATISTICS[func]):
            self._keep(args[1] if len(args) > 1 else kwargs.get("running_mean"))
            self._keep(args[2] if len(args) > 2 else kwargs.get("running_var"))
        return func(*args, **kwargs)

    def _put_beside(self, func: Any, writes: bool, target: Tensor, args: Any, kwargs: Any) -> Tensor | None:
        """The result of an in-place call in memory of its own; None where the operator would change the type or shape."""
        if not writes:
            result = _beside(func, False, target, args, kwargs)
        else:
            if kwargs or len(args) != 2 or torch.result_type(*args) != target.dtype:
                return None
            result = _OPERATORS[func.__name__](*args)
            if result.shape != target.shape:
                return None
        if self._watched:
            self._left[storage(target)] = target
        return result

    def _was_left(self, value: Any) -> bool:
        if isinstance(value, (list, tuple)):
            return any(map(self._was_left, value))
        return isinstance(value, Tensor) and storage(value) in self._left

    @property
    def idle(self) -> bool:
        """See the class."""
        busy = self._saved or self._random_state is not None or self._rewrote or self.sets_grad_mode
        return not busy

    def _keep(self, tensor: Any) -> None:
        if not isinstance(tensor, Tensor):
            return
        if self._own_storages is None:
            self._own_storages = {}
            for own in self._own:
                self._own_storages.setdefault(storage(own), []).append(own)
        for own in self._own_storages.get(storage(tensor), ()):
            self._saved.setdefault(id(own), (own, own.detach().clone()))
        self._before_write(tensor)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for own, value in self._saved.values():
                own.copy_(value)
        if self._random_state is not None:
            torch.set_rng_state(self._random_state[0])
            if self._random_state[1]:
                torch.cuda.set_rng_state_all(self._random_state[1])


def storage(tensor: Tensor) -> int:
    """What tells whether two tensors share memory."""
    return tensor.untyped_storage().data_ptr()


# The functions that update running statistics when told to: the name and place of the argument that tells.
_STATISTICS = {F.batch_norm: ("training", 5), F.instance_norm: ("use_input_stats", 5)}


@cache
def _habits(func: Any) -> tuple[bool, int | None, bool, int | None]:
    """Whether a torch call overwrites its first argument, whether it draws; the places of the flags that decide it.

    In order: writes, the place of ``inplace``, draws, the place of ``training``; None for a flag it does not have.
    """
    name = getattr(func, "__name__", "")
    dunder = name.startswith("__") and name.endswith("__")
    writes = name == "__setitem__" or (dunder and name[2] == "i" and hasattr(Tensor, f"__{name[3:]}"))
    writes = writes or (name.endswith("_") and not dunder)
    # What wraps a builtin, as Tensor.__pow__ does, has no signature but its own.
    names = list(inspect.signature(func, follow_wrapped=False).parameters) if inspect.isfunction(func) else []
    inplace_at, training_at = (names.index(flag) if flag in names else None for flag in ("inplace", "training"))
    return writes, inplace_at, name in _DRAWS, training_at


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], name: str, place: int) -> bool:
    return bool(args[place] if len(args) > place else kwargs.get(name, False))


def _beside(func: Any, writes: bool, target: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The value of an in-place rectifier, computed beside its input, of which ``target`` is a copy.

    Written over a view, autograd would hide the rectifier within one ``CopySlices`` node, out of the rules' sight.
    """
    rest = {name: value for name, value in kwargs.items() if name not in ("input", "inplace")}
    if writes:
        name = func.__name__.rstrip("_")
        value: Tensor = (getattr(Tensor, name, None) or getattr(F, name))(target, *args[1:], **rest)
    else:
        bound = _signature(func).bind(target, *args[1:], **rest)
        bound.arguments["inplace"] = False
        value = func(*bound.args, **bound.kwargs)
    return value


_signature = cache(inspect.signature)


def _random_state() -> tuple[Tensor, list[Tensor]]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return torch.get_rng_state(), cuda
