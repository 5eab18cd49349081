"""What the scores of a network are, found by numbers: by one picture's, and where that is not enough by two more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nbcnnviz.core.calls import NORMALISERS, Call, behind
from nbcnnviz.core.dense import Detection, Segmentation, are_detections, class_count, maps_in
from nbcnnviz.core.errors import NetworkError, UnknownOptionError
from nbcnnviz.core.heads import (
    Binary,
    Classes,
    Embedding,
    Head,
    Logits,
    Multilabel,
    Probabilities,
    Regression,
    main_output,
    scores_of,
)
from nbcnnviz.core.recording import Recording

_OF_ROWS: dict[str, type[Head]] = {
    h.kind: h for h in (Logits, Probabilities, Binary, Multilabel, Regression, Embedding)
}
KINDS = (*_OF_ROWS, Segmentation.kind, Detection.kind)
_LEAST_EMBEDDING = 8  # numbers; rows of unit length that are shorter may be an angle's sine and cosine


def check_kind(told: str | None, unit: str) -> None:
    """Raise UnknownOptionError for a kind of scores that there is not, or a unit for what has none."""
    if told is not None and (not isinstance(told, str) or told not in KINDS):
        raise UnknownOptionError(told, KINDS, f"scores is one of {', '.join(KINDS)}.")
    if unit and told != "regression":
        raise UnknownOptionError(unit, (), "A unit belongs to values: say scores='regression'.")


def family(recording: Recording, told: str | None) -> str:
    """What a module returned for one picture: ``"scores"``, ``"segmentation"`` or ``"detection"``.

    Maps are taken for a segmentation's where that is told; where they are under the name that torchvision or
    transformers give them; or where they have the input's size, are not as many as its channels, and not rectified.

    Raises
    ------
    NetworkError
        If it is neither, or not what was told.
    """
    output, x = recording.output, recording.input
    if told in (None, "detection") and are_detections(output):
        return "detection"
    maps = maps_in(output)
    if told in (None, "segmentation") and maps is not None:
        named = hasattr(output, "logits") or (isinstance(output, Mapping) and ("out" in output or "logits" in output))
        alike = maps.shape[2:] == x.shape[2:] and maps.shape[1] not in (1, x.shape[1])
        if told or named or (alike and (bool((maps < 0).any()) or _sums_to_one(maps))):
            return "segmentation"
    if told in ("segmentation", "detection"):
        wanted = (
            "maps (N, K, H, W)" if told == "segmentation" else "a list of dictionaries with boxes, labels and scores"
        )
        raise NetworkError(f"scores={told!r} are {wanted}, and this module returns {_type_of(output)}.")
    scores_of(output, 1)
    return "scores"


def _type_of(output: Any) -> str:
    scores = main_output(output)
    return f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else f"a {type(output).__name__}"


def make_head(kind: str, count: int, given: Classes | None = None, **attributes: Any) -> Head:
    """The head of a kind, as the number of scores and the class names ask for it."""
    if kind == "binary":
        attributes["own"] = int(given is not None and len(given) == 2)
    return _OF_ROWS[kind](count, **attributes)


def find_head(
    run: Callable[[Tensor, Callable[[nn.Module, Tensor], Any]], Any],
    call: Call,
    module: nn.Module,
    recording: Recording,
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
    call, module, recording
        The call so far, what it calls, and its pass on one grey picture.
    told, classes, unit
        What the user says of them.

    Raises
    ------
    NetworkError
        If what was told and the numbers do not agree.
    """
    output, shape = recording.output, recording.input.shape[1:]
    what = family(recording, told)
    if what == "detection":
        return Detection(class_count(module, classes)), call
    if what == "segmentation":
        output, calls = run(_noise(shape), call.watched)
        maps = maps_in(output)
        if maps is None:
            raise NetworkError("This network returns maps for one picture and none for two.")
        ends_in = _ends_in(output, maps, calls)
        return Segmentation(maps.shape[1], ends_in), call.ending_in(ends_in)
    scores = scores_of(output, 1)
    count = scores.shape[1]
    flat = main_output(output).ndim == 1
    if told in ("regression", "embedding") and not flat:
        return make_head(told, count, unit=unit), call
    if told is None and not flat and not _remarkable(scores):
        return make_head("logits" if count > 1 else "binary", count, classes), call
    noise = _noise(shape)
    try:
        output, calls = run(noise, call.watched)
    except NetworkError:  # a program that was exported for one picture takes no more
        noise = noise[:1]
        output, calls = run(noise, call.watched)
    scores = scores_of(output, len(noise))
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


def _noise(shape: tuple[int, ...]) -> Tensor:
    """Two pictures, since what holds for one may do so by chance."""
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))


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
    sums = scores.float().sum(1)
    return bool((scores >= 0).all()) and _close(sums, torch.ones_like(sums), scores.dtype)


def _logarithms(scores: Tensor) -> bool:
    return bool((scores <= 0).all()) and _sums_to_one(scores.exp())


def _unit_length(scores: Tensor) -> bool:
    return _close(scores.float().norm(dim=1), torch.ones(len(scores)), scores.dtype)


def _close(found: Tensor, expected: Tensor, dtype: torch.dtype | None = None) -> bool:
    tolerance = torch.finfo(dtype or expected.dtype).eps ** 0.5
    return torch.allclose(found.float().cpu(), expected.float().cpu(), rtol=tolerance, atol=tolerance)
