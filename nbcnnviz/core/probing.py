"""The size that a module takes, found by running it on grey pictures; and why it takes none."""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nbcnnviz.core.bands import prepared
from nbcnnviz.core.calls import missing
from nbcnnviz.core.errors import ImageError, NetworkError
from nbcnnviz.core.finding import family
from nbcnnviz.core.heads import main_output
from nbcnnviz.core.images import MAX_PIXELS
from nbcnnviz.core.recording import Recording
from nbcnnviz.core.unprocess import trial

# Input sizes that networks are made for, tried in turn when none is given: ImageNet's, then those of small data sets.
_USUAL_SIZES = (224, 32, 299, 28, 64, 96, 128, 256, 384)

Run = Callable[[Tensor], Recording]


def find_input(
    run: Run, module: nn.Module, size: int | tuple[int, int] | None, extra: Any, told: str | None = None
) -> tuple[tuple[int, int, int], Recording]:
    """The (C, H, W) that a module takes, and the pass of a grey picture that shows it.

    Raises
    ------
    NetworkError
        If it runs at none of the sizes, or returns no scores.
    """
    channels = _input_channels(module)
    sizes = [_checked(size, module)] if size is not None else [(s, s) for s in _USUAL_SIZES]
    failures: list[NetworkError] = []
    maps: NetworkError | None = None
    for height, width in sizes:
        try:
            recording = run(torch.zeros(1, channels, height, width))
        except NetworkError as failure:
            failures.append(failure)
            continue
        try:
            family(recording, told)
        except NetworkError as no_scores:
            if size is not None or not _is_maps(recording.output):
                raise
            maps = maps or no_scores
            continue
        if maps is None or _ends_in_a_convolution_of_all(recording, module):
            return (channels, height, width), recording
    if maps is not None:
        raise maps
    # What the module says at its most usual size is the most telling.
    raise explained(failures[0], module, extra, size_helps=_depends_on_size(run, failures, sizes[0], channels))


def _checked(size: Any, module: nn.Module) -> tuple[int, int]:
    with suppress(TypeError, ValueError):
        height, width = map(operator.index, size if isinstance(size, (tuple, list)) else (size, size))
        if height > 0 and width > 0 and height * width <= MAX_PIXELS and not isinstance(size, bool):
            return height, width
    raise NetworkError(
        f"The size of a network's input is one number or (height, width), not {size!r}.{_volumes(module)}"
    )


def explained(failure: NetworkError, module: nn.Module, extra: Any, size_helps: bool = False) -> NetworkError:
    """A failure on the very first input, with what would help, where that is known."""
    lacking = missing(module, extra)
    advice = _volumes(module)
    if not advice and lacking:
        advice = (
            f" Its forward takes {', '.join(map(repr, lacking))} beside the picture: fix the value with "
            "nbcnnviz.Network(module, extra=...)."
        )
    if not advice and size_helps:
        advice = " Give the network its size=(H, W), or its preprocess."
    error = NetworkError(f"{failure}{advice}")
    error.__cause__ = failure
    return error


def _volumes(module: nn.Module) -> str:
    name, first = _first_convolution(module)
    if not isinstance(first, (nn.Conv3d, nn.ConvTranspose3d)):
        return ""
    return (
        f" The module takes volumes or clips, (N, C, D, H, W), by its {type(first).__name__} layer {name!r}: 5-D inputs are "
        "not supported. Networks of pictures, (N, C, H, W), are."
    )


def _depends_on_size(run: Run, failures: list[NetworkError], size: tuple[int, int], channels: int) -> bool:
    """Whether the module fails in another way at another size."""
    said = {str(f.__cause__) for f in failures}
    if len(failures) == 1:
        try:
            run(torch.zeros(1, channels, size[0] + 64, size[1] + 64))
        except NetworkError as failure:
            said.add(str(failure.__cause__))
        else:
            return True
    # Of an input with the wrong number of channels, torch says the size as well.
    return len(said) > 1 and not any("channels, but got" in text for text in said)


def _is_maps(output: Any) -> bool:
    output = main_output(output)
    return isinstance(output, Tensor) and output.is_floating_point() and output.ndim > 2


def _ends_in_a_convolution_of_all(recording: Recording, module: nn.Module) -> bool:
    """Whether a map of one place comes of a kernel as large as what it covers, and not of strides.

    The former is a fully connected layer written as a convolution, which ends a classifier. The latter happens to a
    feature extractor at a size that is small enough.
    """
    modules = dict(module.named_modules())
    for name, activation in recording.activations.items():
        layer = modules[name.partition(":")[0]]
        if isinstance(layer, nn.Conv2d) and activation.shape[2:].numel() == 1:
            return max(layer.kernel_size) > 1 and set(layer.padding) in ({0}, set("valid"))
    return isinstance(module, nn.Conv2d)


def _input_channels(module: nn.Module) -> int:
    """What the first convolution takes; three where there is none."""
    _, first = _first_convolution(module)
    return 3 if first is None else first.in_channels


def _first_convolution(module: nn.Module) -> tuple[str, nn.modules.conv._ConvNd | None]:
    found = ((n, m) for n, m in module.named_modules() if isinstance(m, nn.modules.conv._ConvNd))
    return next(found, ("", None))


def trial_of(preprocess: Callable[[Any], Tensor], module: nn.Module) -> Tensor:
    """What a preprocess makes of a plain picture; of an array, where the module takes other than one or three channels."""
    channels = _input_channels(module)
    try:
        return trial(preprocess)
    except ImageError:
        if channels in (1, 3):
            raise
    return prepared(preprocess, np.full((256, 256, channels), 0.5, np.float32), channels)
