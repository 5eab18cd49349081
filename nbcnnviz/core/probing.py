"""What a module is found to be by running it once or twice: the size it takes, and what its scores are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nbcnnviz.core.calls import NORMALISERS, Call, behind, missing
from nbcnnviz.core.errors import NetworkError
from nbcnnviz.core.heads import Classes, Head, main_output, make_head, scores_of
from nbcnnviz.core.recording import Recording

# Input sizes that networks are made for, tried in turn when none is given: ImageNet's, then those of small data sets.
_USUAL_SIZES = (224, 32, 299, 28, 64, 96, 128, 256, 384)
_LEAST_EMBEDDING = 8  # numbers; rows of unit length that are shorter may be an angle's sine and cosine

Run = Callable[[Tensor], Recording]


def find_input(
    run: Run, module: nn.Module, size: int | tuple[int, int] | None, extra: Any
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
            scores_of(recording.output, 1)
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
    sizes = (size, size) if isinstance(size, int) else size
    try:
        height, width = (int(s) for s in sizes)
        if height > 0 and width > 0:
            return height, width
    except (TypeError, ValueError):
        pass
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
        if isinstance(layer, nn.Conv2d) and activation.output.shape[2:].numel() == 1:
            return max(layer.kernel_size) > 1 and set(layer.padding) in ({0}, set("valid"))
    return isinstance(module, nn.Conv2d)


def _input_channels(module: nn.Module) -> int:
    """What the first convolution takes; three where there is none."""
    _, first = _first_convolution(module)
    return 3 if first is None else first.in_channels


def _first_convolution(module: nn.Module) -> tuple[str, nn.modules.conv._ConvNd | None]:
    found = ((n, m) for n, m in module.named_modules() if isinstance(m, nn.modules.conv._ConvNd))
    return next(found, ("", None))


def find_head(
    run: Callable[[Tensor, Callable[[nn.Module, Tensor], Any]], Any],
    call: Call,
    shape: tuple[int, int, int],
    output: Any,
    *,
    told: str | None = None,
    classes: Classes | None = None,
    unit: str = "",
) -> tuple[Head, Call]:
    """What the scores of a network are, and the call that returns them.

    Parameters
    ----------
    run
        Runs a batch without a graph, by a given call, and returns what the call does.
    call, shape, output
        The call so far, the shape (C, H, W) of its input, and what it returned for one grey picture.
    told, classes, unit
        What the user says of them.

    Raises
    ------
    NetworkError
        If what was told and the numbers do not agree.
    """
    scores = scores_of(output, 1)
    count = scores.shape[1]
    flat = main_output(output).ndim == 1
    if told in ("regression", "embedding") and not flat:
        return make_head(told, count, unit=unit), call
    if told is None and not flat and not _remarkable(scores):
        return make_head("logits" if count > 1 else "binary", count, classes), call
    # Two pictures at once, since what holds for one may do so by chance.
    noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    output, calls = run(noise, call.watched)
    scores = scores_of(output, 2)
    if told in ("regression", "embedding"):
        return make_head(told, count, unit=unit), call
    ends_in = _ends_in(output, scores, calls)
    kind = _kind(scores, ends_in)
    _agree(told, kind, count, scores)
    kind = told or kind
    if kind not in ("probabilities", "binary", "multilabel"):
        ends_in = None
    logarithms = {"logarithms": _logarithms(scores)} if kind == "probabilities" else {}
    return make_head(kind, count, classes, behind=ends_in, **logarithms), call.ending_in(ends_in)


def _ends_in(output: Any, scores: Tensor, calls: list[tuple[str, Tensor, Tensor]]) -> str | None:
    for name, function in NORMALISERS.items():
        argument = behind(main_output(output), calls, name)
        if argument is not None and _close(function(argument.reshape(scores.shape)), scores):
            return name
    return None


def _kind(scores: Tensor, ends_in: str | None) -> str:
    count = scores.shape[1]
    if ends_in == "sigmoid":
        return "binary" if count == 1 else "multilabel"
    if ends_in or _sums_to_one(scores) or _logarithms(scores):
        return "probabilities"
    if count >= _LEAST_EMBEDDING and _unit_length(scores):
        return "embedding"
    return "binary" if count == 1 else "logits"


def _agree(told: str | None, kind: str, count: int, scores: Tensor) -> None:
    """Raise NetworkError where what was told cannot be, or where it can only be one score's."""
    if count == 1 and kind == "probabilities":
        raise NetworkError(
            "This network returns a softmax of one score, which is always 1 (or 0, its logarithm): return the score itself."
        )
    if told == "binary" and count != 1:
        raise NetworkError(
            f"scores='binary' is one logit for two classes, and this network returns {count} scores: they are 'logits' of "
            "classes that exclude one another, or 'multilabel'."
        )
    if told == "probabilities" and kind != "probabilities":
        raise NetworkError(
            "scores='probabilities' are rows that sum to one, or their logarithms, and a row of this network's sums to "
            f"{float(scores[0].sum()):.4g}: are they 'logits', or 'multilabel'?"
        )
    if told in ("logits", "multilabel") and kind == "probabilities":
        raise NetworkError(
            f"scores={told!r} was said, and the rows of this network's scores sum to one: they are 'probabilities'."
        )
    if told == "logits" and kind == "multilabel":
        raise NetworkError(
            "scores='logits' was said, and this network ends in a sigmoid: its scores are 'multilabel', each a probability."
        )


def _remarkable(scores: Tensor) -> bool:
    """Whether scores might be something other than logits, by the looks of one picture's."""
    within = bool(((scores >= 0) & (scores <= 1)).all())
    return within or _logarithms(scores) or _unit_length(scores)


def _sums_to_one(scores: Tensor) -> bool:
    return bool((scores >= 0).all()) and _close(scores.float().sum(1), torch.ones(len(scores)), scores.dtype)


def _logarithms(scores: Tensor) -> bool:
    return bool((scores <= 0).all()) and _sums_to_one(scores.exp())


def _unit_length(scores: Tensor) -> bool:
    return _close(scores.float().norm(dim=1), torch.ones(len(scores)), scores.dtype)


def _close(found: Tensor, expected: Tensor, dtype: torch.dtype | None = None) -> bool:
    tolerance = torch.finfo(dtype or expected.dtype).eps ** 0.5
    return torch.allclose(found.float().cpu(), expected.float().cpu(), rtol=tolerance, atol=tolerance)
