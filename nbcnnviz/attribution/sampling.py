"""What methods of many passes share: batches that fit into memory, random numbers that do not depend on them, and a
mean that is usable after the first batch and gets better with each.

A method draws each sample from a generator of its own (`generator`), runs them in `batches`, adds what they give to a
`Mean`, and yields a frame after each batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from nbcnnviz.core.errors import ImageError, NetworkError, UnknownOptionError
from nbcnnviz.core.memory import free_memory
from nbcnnviz.core.network import Network
from nbcnnviz.core.preprocess import blurred
from nbcnnviz.core.targets import Target
from nbcnnviz.core.targets.batches import OnePicture, one_by_one
from nbcnnviz.core.trace import Trace

T = TypeVar("T")

BASELINES = ("black", "mean", "blur", "noise")
"""The names that `baseline` knows."""
NOISY = {"baseline": ("noise",)}
"""Where the seed of a baseline counts."""

# A CPU takes a seventh longer a picture with 16 at once than with 8 (224 px, one thread): the maps leave its caches.
_MOST_ON_CPU, _MOST_ON_GPU = 8, 256
_SHARE_OF_FREE_MEMORY = 0.5


class Mean:
    """The mean of samples as they come, and its standard error.

    Sums are kept in float64 and one sample is added after the other, so that the result does not depend on how many
    come at once, beyond the rounding of the samples themselves.

    Attributes
    ----------
    count : int
        How many samples were added.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None

    def add(self, samples: Tensor) -> None:
        """Add samples (n, ...)."""
        for sample in samples.detach().double():
            self.count += 1
            if self._mean is None or self._squares is None:
                self._mean, self._squares = sample.clone(), torch.zeros_like(sample)
                continue
            off = sample - self._mean
            self._mean += off / self.count
            self._squares.addcmul_(off, sample - self._mean)

    @property
    def mean(self) -> Tensor:
        """The mean (...), float64."""
        assert self._mean is not None, "nothing was added yet"
        return self._mean

    @property
    def variance(self) -> Tensor:
        """The unbiased variance of the samples (...), float64; zero for one sample."""
        assert self._squares is not None, "nothing was added yet"
        return self._squares / max(1, self.count - 1)

    @property
    def error(self) -> Tensor:
        """The standard error of the mean (...), float64; NaN for one sample, of which nothing is known."""
        if self.count < 2:
            return torch.full_like(self.mean, float("nan"))
        return (self.variance / self.count).sqrt()


def generator(seed: int, index: int) -> torch.Generator:
    """The random numbers of one sample: those of the same seed and index, whatever batch it is in.

    On the CPU, so that every device gets the same.
    """
    return torch.Generator().manual_seed((seed * 1_000_003 + index) % 2**63)


def batches(count: int, size: int, run: Callable[[int, int], T]) -> Iterator[tuple[int, T]]:
    """``run(begin, end)`` for samples 0 to ``count``, so many at once; yields how many are done, with what it gave.

    Where memory does not suffice the size is halved, and what failed is run again; one sample that does not fit raises
    ``torch.OutOfMemoryError``.
    """
    done = 0
    while done < count:
        end = min(done + size, count)
        try:
            result = run(done, end)
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size = max(1, min(size, end - done) // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        done = end
        yield done, result


def batch_size(network: Network, *, graph: bool, batch: int | None = None) -> int:
    """How many pictures to run at once: ``batch`` if one was asked for, else as many as fit into half the free memory.

    Parameters
    ----------
    graph
        Whether the pass keeps what a backward pass needs.
    batch
        What the user asked for; UnknownOptionError if it is no whole number from 1 on.
    """
    if batch is not None:
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise UnknownOptionError(batch, (), "batch is a whole number, 1 or more.")
        return batch
    sizes = []
    for layer in network.layers.values():
        size = 1
        for n in layer.shape:
            size *= n
        sizes.append(size)
    channels, height, width = network.input_shape
    needed = 4 * (channels * height * width * 3 + (2 * sum(sizes) if graph else 4 * max(sizes, default=0)))
    gpu = network.device.type == "cuda"
    fitting = int(_SHARE_OF_FREE_MEMORY * free_memory(network.device) / needed)
    return max(1, min(_MOST_ON_GPU if gpu else _MOST_ON_CPU, fitting))


@dataclass(frozen=True)
class Variants:
    """Many variants of the pictures of a trace, and one pass of them all.

    Attributes
    ----------
    trace
        The pass, of k x N pictures.
    target
        What is asked of them: what was asked of the N, k times.
    """

    trace: Trace
    target: Target
    count: int

    def split(self, values: Tensor) -> Tensor:
        """Of values (k x N, ...), those of each variant: (k, N, ...)."""
        return values.reshape(self.count, -1, *values.shape[1:])


class Nearby:
    """Runs variants of a trace's pictures, with gradients for their input and the layers named, and no parameter's.

    Parameters
    ----------
    trace, target
        The pictures, and what is asked of them.
    layers
        Where gradients are wanted beside the input.
    variants
        How many variants there will be, of each of whose passes one gradient is taken; None where gradients are wanted by another rule than the plain one, to which a
        network with folded batch norms is another.
    """

    def __init__(self, trace: Trace, target: Target, layers: Collection[str], variants: int | None = None) -> None:
        self.network, self._target, self._pictures = trace.network, target, len(trace)
        wanted = None if target.layers is None else {*layers, *target.layers}
        self._options: dict[str, Any] = {"layers": wanted, "stop": not target.whole and bool(wanted)}
        if variants is not None:
            self._options |= {"pictures": variants * len(trace), "once": True}
        # A CPU convolves that layout quickest.
        self._channels_last = trace.input.device.type == "cpu"
        self._run = trace.network.tracer(**self._options, channels_last=self._channels_last)

    def __call__(self, pictures: Tensor) -> Variants:
        """One pass of variants (k, N, C, H, W)."""
        return Variants(self._pass(pictures.flatten(0, 1)), _Repeated(self._target, self._pictures), len(pictures))

    def _pass(self, x: Tensor) -> Trace:
        if not self._channels_last:
            return self._run(x)
        try:
            return self._run(x.contiguous(memory_format=torch.channels_last))
        except NetworkError:  # a network may ask for another order in memory, by tensor.view say
            self._channels_last = False
            self._run = self.network.tracer(**self._options)
            return self._run(x)

    def scores(self, trace: Trace) -> Tensor:
        """What is asked of the pictures of a trace, (N,), float64 and detached."""
        return one_by_one(self._target, trace).detach().double()

    def batch_size(self, batch: int | None) -> int:
        """How many variants to run at once; see the function of this name."""
        return max(1, batch_size(self.network, graph=True, batch=batch) // self._pictures)


class _Repeated(Target):
    """A target of N pictures, asked of every N pictures of a batch."""

    def __init__(self, target: Target, count: int) -> None:
        self._target, self._count = target, count

    def __call__(self, trace: Trace) -> Tensor:
        if len(trace) == self._count:
            return one_by_one(self._target, trace)
        parts = (OnePicture(trace, at, self._count) for at in range(0, len(trace), self._count))
        return torch.cat([one_by_one(self._target, part) for part in parts])  # type: ignore[arg-type]

    @property
    def layers(self) -> frozenset[str] | None:
        return self._target.layers

    @property
    def classes(self) -> tuple[int | str, ...]:
        return self._target.classes


def baseline(trace: Trace, what: Any, seed: int = 0) -> Tensor:
    """What a picture is compared with or filled in by, as the network takes it: (N, C, H, W), for every picture.

    Parameters
    ----------
    what
        ``"black"``; ``"mean"``, each picture's mean colour; ``"blur"``, the picture blurred by a Gaussian of a twentieth of
        its shorter side; ``"noise"``, uniform between black and white; a picture as `load_image` takes it; or a
        preprocessed tensor, (N, C, H, W) or (1, C, H, W).
    seed
        Of the noise.

    Raises
    ------
    UnknownOptionError
        If it is no such name.
    ImageError
        If black or white cannot be told for this network, or a picture or tensor has another shape.
    """
    x = trace.input.detach()
    if isinstance(what, str) and what == "mean":
        return x.mean((2, 3), keepdim=True).expand_as(x)
    if isinstance(what, str) and what == "blur":
        return blurred(x)
    if isinstance(what, str) and what in BASELINES:
        black, white = black_and_white(trace)
        if what == "black":
            return black.expand_as(x)
        drawn = [torch.rand(x.shape[1:], generator=generator(seed, i)) for i in range(len(x))]
        return black + torch.stack(drawn).to(x) * (white - black)
    if isinstance(what, str):
        try:
            start = trace.network.batch(what)
        except ImageError as error:
            raise UnknownOptionError(
                what, BASELINES, f"A baseline is one of {', '.join(BASELINES)}, a picture or a preprocessed tensor."
            ) from error
    else:
        start = trace.network.batch(what)
    if start.shape[1:] != x.shape[1:] or len(start) not in (1, len(x)):
        raise ImageError(
            f"The baseline is {tuple(start.shape)}, and the input {tuple(x.shape)}: give one of its shape."
        )
    return start.to(x).expand_as(x)


def black_and_white(trace: Trace) -> tuple[Tensor, Tensor]:
    """The inputs (1, C, 1, 1) for a black and for a white picture."""
    x, unprocess = trace.input, trace.network.unprocess
    if len(unprocess.black) != x.shape[1]:
        raise ImageError(
            "What black is in this network's input is not known: give the baseline as a preprocessed (1, C, H, W) "
            "tensor, or 'mean' or 'blur'."
        )
    white = torch.linalg.lstsq(unprocess.inverse, torch.ones(3, 1, dtype=unprocess.inverse.dtype)).solution[:, 0]
    black = unprocess.black.view(1, -1, 1, 1)
    return black.to(x), (black + white.view(1, -1, 1, 1)).to(x)
