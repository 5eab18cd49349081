"""Maps side by side: along one axis of what can be asked, with all else fixed, the cheapest first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from nbcnnviz.attribution import Attribution, checked_options
from nbcnnviz.core.errors import (
    ArgumentTypeError,
    MethodNotApplicableError,
    NbcnnvizError,
    PackageMissingError,
    StaleTraceError,
    UnknownOptionError,
    first_sentence,
)
from nbcnnviz.core.network import Network
from nbcnnviz.core.targets import TargetLike, as_target
from nbcnnviz.core.trace import Trace
from nbcnnviz.metrics.questions import AXES, Asked, Entry, plan
from nbcnnviz.render import flat, upscaled

# Options were checked before: a method that refuses one then looks at no layer.
_NO_MEANING = (MethodNotApplicableError, PackageMissingError, UnknownOptionError)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Maps along one axis, as far as they have come.

    Attributes
    ----------
    axis : str
        What differs from one map to the next.
    entries : tuple[Entry, ...]
        The maps, in the order in which they are shown.
    correlations : numpy.ndarray
        Spearman's rank correlation between all pairs of maps of the first picture, (n, n) float64: NaN where one of the
        two is not there, or the same everywhere; 1 in the diagonal of a map that is there. See `rank_correlation`.
    """

    axis: str
    entries: tuple[Entry, ...]
    correlations: np.ndarray

    def __repr__(self) -> str:
        return f"<Comparison of {self.axis}: {self.step} of {self.steps} maps>"

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, name: str) -> Attribution:
        """The map of this name: a method's, a layer's, a class's, a sample's.

        Raises
        ------
        UnknownOptionError
            If there is none of this name.
        MethodNotApplicableError
            If there is no map, with the reason.
        """
        for entry in self.entries:
            if name in (entry.name, entry.value if isinstance(entry.value, str) else None):
                if entry.result is None:
                    raise MethodNotApplicableError(entry.error or f"The map of {name} has not been made.")
                return entry.result
        raise UnknownOptionError(name, [entry.name for entry in self.entries], "It is not among what is compared.")

    @property
    def step(self) -> int:
        """How many maps are finished."""
        return sum(entry.done for entry in self.entries)

    @property
    def steps(self) -> int:
        """How many there are to be."""
        return len(self.entries)

    @property
    def chosen(self) -> int | None:
        """The place of the map that was asked for to begin with; None if it is not among them."""
        return next((at for at, entry in enumerate(self.entries) if entry.chosen), None)

    @property
    def left_out(self) -> tuple[Entry, ...]:
        """Those that have no meaning here; `Entry.error` says why."""
        return tuple(entry for entry in self.entries if not entry.applies)


class _Compare:
    """The function `compare`, with `stream` beside it."""

    def __call__(self, source: Network | Trace, image: Any = None, **asked: Any) -> Comparison:
        """Make maps that differ in one thing, with all else fixed, and their rank correlations.

        Parameters
        ----------
        source, image
            A network and a picture; or a trace, and the picture that it is of, which other networks need.
        axis
            What differs: ``"methods"``, ``"classes"``, ``"layers"``, ``"pictures"``, ``"networks"``, or ``"cascade"``: the
            network with the weights of its last modules drawn anew, more and more of them (Adebayo et al. 2018).
        values
            What is compared. Default: every method; the most probable classes; layers over depth; the sample pictures;
            the network and a copy with weights drawn anew. None for a cascade.
        method, target, layer
            As `nbcnnviz.attribute` takes them: what is fixed, or one of the maps compared.
        options
            The options of ``method``; other methods have their defaults.
        most
            How many maps at most, where ``values`` are not given. Default: 9 classes, 12 layers, 8 stages.
        passes
            The methods that take more forward passes than this are left out, where ``values`` are not given.
        seed
            Of weights drawn anew.

        Returns
        -------
        Comparison
            What has no meaning, or failed, has its reason in place of a map, and stops no other.

        Raises
        ------
        UnknownOptionError, UnknownMethodError, UnknownLayerError, UnknownClassError, OptionValueError
            If something asked for does not exist.
        MethodNotApplicableError
            If there is nothing to compare.
        """
        *_, last = self.stream(source, image, **asked)
        return last

    def stream(
        self,
        source: Network | Trace,
        image: Any = None,
        *,
        axis: str = "methods",
        values: Sequence[Any] | None = None,
        method: str = "grad_cam",
        target: TargetLike = None,
        layer: str | None = None,
        options: Mapping[str, Any] | None = None,
        most: int | None = None,
        passes: float = math.inf,
        seed: int = 0,
        known: Comparison | None = None,
    ) -> Iterator[Comparison]:
        """As `compare`, frame by frame: first without a map, then after each better estimate of one, the cheapest first.

        ``known`` is a comparison made before: a map of it that answers one of the questions is not made again. Close
        the generator to stop.
        """
        if not isinstance(source, (Network, Trace)):
            raise ArgumentTypeError(f"compare takes a Network or a Trace, not a {type(source).__name__}.")
        if isinstance(source, Network) and image is None:
            raise ArgumentTypeError("compare needs a picture: give a network and a picture, or a trace.")
        if axis not in AXES:
            raise UnknownOptionError(axis, AXES, f"The axes are {', '.join(AXES)}.")
        options = checked_options(method, options or {})
        if layer is not None:
            network = source if isinstance(source, Network) else source.network
            if layer not in network.layers:
                raise network.unknown_layer(layer)
        trace = source if isinstance(source, Trace) else source.trace(image)
        first = None
        if axis == "classes" and target is None and trace.network.kind == "regression":  # no value is on top
            first = trace.top(1)[0][0]
        fixed = as_target(first if target is None else target, trace)
        fixed.check(trace.network)
        asked = Asked(trace, image, method, fixed, target, layer, options, seed)
        return _run(axis, plan(axis, asked, values, most, passes), known)


compare = _Compare()


def _run(axis: str, entries: list[Entry], known: Comparison | None) -> Iterator[Comparison]:
    ranks = Ranks(len(entries))
    for at, entry in enumerate(entries):
        same = _answered(entry, known)
        if same is not None:
            entries[at] = _finished(entry, same.result, same.error, same.applies)
            ranks.take(at, same.result)
    yield Comparison(axis, tuple(entries), ranks.correlations.copy())
    for at in sorted(range(len(entries)), key=lambda at: entries[at].cost):
        if entries[at].done:
            continue
        for entry in _made(entries[at]):
            entries[at] = entry
            if entry.done:
                ranks.take(at, entry.result)
            yield Comparison(axis, tuple(entries), ranks.correlations.copy())


def _made(entry: Entry) -> Iterator[Entry]:
    """The entry with its map, better and better; or with the reason why there is none."""
    frame = None
    frames = entry.question.frames()
    try:
        for frame in frames:
            if frame.step < frame.steps:
                yield replace(entry, result=frame)
    except StaleTraceError:
        raise
    except NbcnnvizError as error:
        yield _finished(entry, None, str(error), not isinstance(error, _NO_MEANING))
        return
    except Exception as error:  # a method may be the user's, and a pass may need more memory than there is
        yield _finished(entry, None, f"{type(error).__name__}: {first_sentence(error)}", True)
        return
    finally:
        frames.close()  # type: ignore[attr-defined]
    yield _finished(entry, frame, "", True)


def _finished(entry: Entry, result: Attribution | None, error: str, applies: bool) -> Entry:
    return replace(entry, result=result, done=True, error=error, applies=applies)


def _answered(entry: Entry, known: Comparison | None) -> Entry | None:
    """The finished entry of a comparison made before whose question is the same."""
    before = () if known is None else known.entries
    return next((e for e in before if e.done and e.question.asks_the_same(entry.question)), None)


class Ranks:
    """The rank correlations between maps that come one after the other; each is ranked once for each size.

    Attributes
    ----------
    correlations : numpy.ndarray
        Between all pairs, (n, n): as `rank_correlation` gives them.
    """

    def __init__(self, count: int) -> None:
        self.correlations = np.full((count, count), np.nan)
        self._maps: dict[int, Tensor] = {}
        self._ranks: dict[tuple[int, tuple[int, int]], np.ndarray] = {}

    def take(self, at: int, result: Attribution | None, picture: int = 0) -> None:
        """Take the map at a place, and compare it with those that are there."""
        if result is None:
            return
        map_ = flat(result.values[picture : picture + 1].detach()).nan_to_num(0, 0, 0).cpu()
        if bool(map_.min() == map_.max()):  # it ranks nothing
            return
        self._maps[at] = map_
        self.correlations[at, at] = 1.0
        for other, beside in self._maps.items():
            if other != at:
                size = max(map_.shape[1], beside.shape[1]), max(map_.shape[2], beside.shape[2])
                found = float(self._ranked(at, size) @ self._ranked(other, size))
                self.correlations[at, other] = self.correlations[other, at] = found

    def _ranked(self, at: int, size: tuple[int, int]) -> np.ndarray:
        """The ranks of a map at a size, less their mean, as a vector of unit length."""
        if (at, size) not in self._ranks:
            # Equal values share the mean of their ranks. By numpy: scipy.stats takes seconds to import.
            values = upscaled(self._maps[at][None], size).numpy().ravel()
            _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
            ranks = (counts.cumsum() - (counts - 1) / 2)[which.ravel()]
            ranks -= ranks.mean()
            self._ranks[at, size] = ranks / np.linalg.norm(ranks)
        return self._ranks[at, size]
