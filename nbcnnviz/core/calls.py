"""How a network is called on a batch of pictures: with its other inputs, and down to the scores behind a softmax."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nbcnnviz.core.errors import NetworkError
from nbcnnviz.core.guard import storage
from nbcnnviz.core.heads import main_output
from nbcnnviz.core.images import load_image
from nbcnnviz.core.preprocess import Preprocess, applied

# What a network may end in, by the name of the function, with the function itself.
NORMALISERS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda z: z.softmax(1),
    "log_softmax": lambda z: z.log_softmax(1),
    "sigmoid": lambda z: z.sigmoid(),
}
_NAMES = {**{name: name for name in NORMALISERS}, "sigmoid_": "sigmoid", "expit": "sigmoid", "special_expit": "sigmoid"}
_KEPT = 3  # calls; the last one makes the scores, or one of the last where there are auxiliary ones


class Call:
    """Runs a module on a batch (N, C, H, W), alone or with inputs that are the same for every picture.

    Parameters
    ----------
    module
        Whose ``forward`` tells which argument the picture is.
    extra
        The other inputs: one value, a tuple or list of those that follow the picture, or a dictionary by name. Of a
        tensor whose first axis is one, every picture of the batch gets its own copy; a ``PIL.Image`` is preprocessed; all
        else is passed as it is.
    prepare
        From a ``PIL.Image`` to a (C, H, W) tensor. Default: the usual one for the batch's channels and size.
    behind
        The function whose argument is returned in place of the scores: a key of `NORMALISERS`. None returns what the
        module returns.
    """

    def __init__(
        self,
        module: nn.Module,
        extra: Any = None,
        prepare: Callable[[Image.Image], Tensor] | None = None,
        behind: str | None = None,
    ) -> None:
        self._prepare, self.behind = prepare, behind
        self._prepared: dict[tuple[int, ...], Tensor] = {}
        positional: Any = () if extra is None or isinstance(extra, Mapping) else extra
        positional = positional if isinstance(positional, (tuple, list)) else (positional,)
        named = dict(extra) if isinstance(extra, Mapping) else {}
        self._positional, self._named = tuple(positional), named
        self._picture = _argument(module, self._named)

    def ending_in(self, behind: str | None) -> Call:
        """The same call, down to the argument of the function that the network ends in."""
        other = object.__new__(Call)
        other.__dict__.update(self.__dict__)
        other.behind = behind
        return other

    def __call__(self, module: nn.Module, x: Tensor) -> Any:
        """What the module returns for a batch; the scores behind its last function where that is left out."""
        if self.behind is None:
            return self._run(module, x)
        output, calls = self.watched(module, x)
        found = behind(main_output(output), calls, self.behind)
        if found is None:
            raise NetworkError(
                f"This network ended in {self.behind} when it was looked at first, and on this input it does not: say what "
                "its scores are, with nbcnnviz.Network(..., scores=...)."
            )
        return found

    def watched(self, module: nn.Module, x: Tensor) -> tuple[Any, list[tuple[str, Tensor, Tensor]]]:
        """What the module returns, and the last calls of `NORMALISERS` on the way: (name, argument, result)."""
        with _Watch() as watch:
            output = self._run(module, x)
        return output, watch.calls

    def _run(self, module: nn.Module, x: Tensor) -> Any:
        if not self._positional and not self._named:
            return module(x)
        positional = [self._for_batch(value, x) for value in self._positional]
        named = {name: self._for_batch(value, x) for name, value in self._named.items()}
        if self._picture is None:
            return module(x, *positional, **named)
        return module(*positional, **{self._picture: x}, **named)

    def _for_batch(self, value: Any, x: Tensor) -> Any:
        """An extra input as a batch takes it: on its device, of its type, once for each picture."""
        if isinstance(value, Image.Image):
            value = self._from_picture(value, x)
        if not isinstance(value, Tensor):
            return value
        value = value.detach()
        value = value.to(x.device, x.dtype) if value.is_floating_point() else value.to(x.device)
        if value.ndim and len(value) == 1 and len(x) > 1:
            value = value.expand(len(x), *value.shape[1:])
        return value

    def _from_picture(self, picture: Image.Image, x: Tensor) -> Tensor:
        key = (id(picture), *x.shape[1:])
        if key not in self._prepared:
            prepare = self._prepare or Preprocess.of((x.shape[2], x.shape[3]), x.shape[1])
            self._prepared = {k: v for k, v in self._prepared.items() if k[1:] == key[1:]}
            self._prepared[key] = applied(prepare, load_image(picture))[None]
        return self._prepared[key]


def behind(scores: Any, calls: list[tuple[str, Tensor, Tensor]], name: str) -> Tensor | None:
    """The argument of the last call of ``name`` that made ``scores``, in their shape; None if none did."""
    if not isinstance(scores, Tensor):
        return None
    for called, argument, result in reversed(calls):
        if called == name and result.numel() == scores.numel() and result.shape[:1] == scores.shape[:1]:
            same = storage(result) == storage(scores) or torch.equal(
                result.detach().flatten(), scores.detach().flatten()
            )
            if same:
                return argument.reshape(scores.shape)
    return None


class _Watch(TorchFunctionMode):
    """Notes the last calls of functions that make probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Tensor, Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = _NAMES.get(getattr(func, "__name__", ""))
        argument = (args[0] if args else kwargs.get("input")) if name else None
        if name is None or not isinstance(argument, Tensor):
            return func(*args, **kwargs)
        before = argument.clone() if func.__name__.endswith("_") else argument
        result = func(*args, **kwargs)
        if isinstance(result, Tensor):
            self.calls = [*self.calls[1 - _KEPT :], (name, before, result)]
        return result


def _argument(module: nn.Module, named: Mapping[str, Any]) -> str | None:
    """The name by which the picture is to be given, where an argument before it is given by name; None: it comes first."""
    try:
        parameters = inspect.signature(module.forward).parameters
    except (TypeError, ValueError):
        return None
    first = next(iter(parameters), None)
    if first is None or first not in named:
        return None
    return next((p.name for p in parameters.values() if p.name not in named and p.default is p.empty), None)


def missing(module: nn.Module, extra: Any) -> list[str]:
    """The names of the inputs that a module's ``forward`` asks for, beside the picture and those in ``extra``."""
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        return []
    given = dict(extra) if isinstance(extra, Mapping) else {}
    positional = 0 if extra is None or given else len(extra) if isinstance(extra, (tuple, list)) else 1
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    asked = [p.name for p in parameters if p.kind in kinds and p.default is p.empty and p.name not in given]
    keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty and p.name not in given]
    return [*asked[1 + positional :], *keywords]
