"""Checks of exercises: a stub is told what is asked, a slip what is wrong with it, an answer that it is right."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import nbcnnviz as nv
from nbcnnviz.teaching import check
from nbcnnviz.teaching.checking import UnknownExerciseError


def areas(shares: Any, values: Any) -> float:
    return float(sum((b - a) * (u + v) / 2 for a, b, u, v in zip(shares, shares[1:], values, values[1:], strict=False)))


def slid(picture: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    return (picture.unfold(0, 3, 1).unfold(1, 3, 1) * kernel).sum((2, 3))


def field(layers: list[tuple[int, int]]) -> int:
    side, step = 1, 1
    for kernel, stride in layers:
        side, step = side + (kernel - 1) * step, step * stride
    return side


RIGHT: dict[str, Any] = {
    "convolve": slid,
    "output-size": lambda size, kernel, stride, padding: (size + 2 * padding - kernel) // stride + 1,
    "receptive-field": field,
    "loss-gradient": lambda scores, labels: scores.softmax(1) - F.one_hot(labels, scores.shape[1]),
    "saliency": lambda gradient: gradient.abs().max(1, keepdim=True).values,
    "probability-gradient": lambda p, rows, c: p[c] * (rows[c] - p @ rows),
    "guided-relu": lambda g, x: g.relu() * (x > 0),
    "deconvnet-relu": lambda g, x: g.relu(),
    "cam": lambda maps, weights, c: (weights[c, :, None, None] * maps).sum(0).relu(),
    "grad-cam": lambda maps, g: (g.mean((1, 2))[:, None, None] * maps).sum(0).relu(),
    "ascent-step": lambda picture, g, length: picture + length * g / g.norm(),
    "eight-bits": lambda pixels: (pixels.clamp(0, 1) * 255).round() / 255,
    "deletion-area": areas,
    "shortcut": (7, 25, 25, 31, 31),
}

SLIPS: list[tuple[str, Any, str]] = [
    ("convolve", lambda x, k: slid(x, k.flip(0, 1)), "flipped"),
    ("convolve", lambda x, k: F.conv2d(x[None, None], k[None, None], padding=1)[0, 0], "as large as the picture"),
    ("convolve", lambda x, k: slid(x, k)[:-1], r"the shape is \(4, 7\)"),
    ("convolve", lambda x, k: slid(x, k) + 1, "largest difference is 1"),
    ("output-size", lambda size, kernel, stride, padding: size, "size 32, kernel 2, stride 2"),
    ("receptive-field", lambda layers: 1 + sum(k - 1 for k, _ in layers), "several pixels"),
    ("loss-gradient", lambda s, y: F.one_hot(y, 5) - s.softmax(1), "sign"),
    ("loss-gradient", lambda s, y: s.softmax(1), "one is still to be taken away"),
    ("saliency", lambda g: g.amax(1, keepdim=True), "absolute value first"),
    ("saliency", lambda g: g.abs().sum(1, keepdim=True), "sum over channels"),
    ("saliency", lambda g: g.abs().amax(1), "keepdim"),
    ("probability-gradient", lambda p, rows, c: p[c] * (1 - p[c]) * rows[c], "other scores"),
    ("guided-relu", lambda g, x: g * (x > 0), "plain gradient"),
    ("guided-relu", lambda g, x: g.relu(), "deconvnet"),
    ("deconvnet-relu", lambda g, x: g.relu() * (x > 0), "guided"),
    ("unpool", lambda v, r, c, size: v.repeat_interleave(2, 0).repeat_interleave(2, 1), "alone"),
    ("cam", lambda maps, weights, c: (weights[c, :, None, None] * maps).sum(0), "relu"),
    ("grad-cam", lambda maps, g: (maps * g).sum(0).relu(), "HiRes-CAM"),
    ("grad-cam", lambda maps, g: (g.sum((1, 2))[:, None, None] * maps).sum(0).relu(), "mean"),
    ("ascent-step", lambda picture, g, length: picture - length * g / g.norm(), "down"),
    ("eight-bits", lambda pixels: (pixels.clamp(0, 1) * 255).floor() / 255, "nearest"),
    ("deletion-area", lambda shares, values: values.mean(), "not equally far"),
    ("shortcut", (3, 25, 25, 31, 31), "not the 3"),
    ("shortcut", (7, 0, 0, 8, 8), "the box is not"),
    ("shortcut", (7, 31, 31, 25, 25), "the box is not"),
    ("shortcut", 7, "five whole numbers"),
    ("your-network", torch.nn.Identity(), "wrap it"),
]


@pytest.mark.parametrize("name", RIGHT)
def test_an_answer_that_is_right_is_told_so(name: str) -> None:
    verdict = check(name, RIGHT[name])
    assert verdict, verdict
    assert repr(verdict).startswith(f"Right ({name}): ")


@pytest.mark.parametrize(("name", "answer", "says"), SLIPS, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(SLIPS)])
def test_a_usual_slip_is_named(name: str, answer: Any, says: str) -> None:
    verdict = check(name, answer)
    assert not verdict
    assert re.search(says, verdict.says), verdict
    assert repr(verdict).startswith("Not yet")


def test_unpooling_puts_each_value_at_its_switch() -> None:
    def unpool(values: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        out = torch.zeros(size)
        out[rows, columns] = values
        return out

    assert check("unpool", unpool)


def test_a_network_with_names_for_its_classes_is_one() -> None:
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    module = nv.teaching.digits_module()
    assert check("your-network", nv.Network(module, size=32, classes=names))
    assert "classes" in check("your-network", nv.Network(module, size=32)).says


def test_the_second_class_of_a_sample_is_asked_of_the_network(bundled: nv.Network) -> None:
    (first, _, _), (second, name, _) = bundled.trace("coffee").top(2)
    assert check("second-class", second)
    for wrong in (first, name, 999):
        assert not check("second-class", wrong)


def nothing(*args: Any) -> Any:
    return ...


@pytest.mark.parametrize("stub", [..., None, nothing], ids=["ellipsis", "none", "returns ellipsis"])
@pytest.mark.parametrize("name", nv.teaching.exercises())
def test_a_stub_is_told_what_is_asked(name: str, stub: Callable[..., Any] | None) -> None:
    verdict = check(name, stub)
    assert not verdict
    if not (callable(stub) and name in ("second-class", "shortcut", "your-network")):
        assert nv.teaching.exercises()[name] in verdict.says


def test_what_the_answers_own_code_raises_is_told_with_its_line() -> None:
    def divides(gradient: torch.Tensor) -> float:
        return 1 / 0

    says = check("saliency", divides).says
    assert "ZeroDivisionError" in says
    assert "return 1 / 0" in says


def test_an_exercise_that_there_is_not_is_an_error_with_the_nearest() -> None:
    with pytest.raises(UnknownExerciseError, match="saliency"):
        check("salience", 1)


def test_pictures_are_laid_out_with_their_captions() -> None:
    pictures = [torch.zeros(4, 8), torch.randn(3, 5, 5), "chelsea", Image.new("RGB", (10, 20))]
    sheet = nv.teaching.row(pictures, ["a", "b", "c", "d"], height=40)
    assert sheet.height == 40 + 18 + 8
    assert sheet.width >= 80 + 40 + 60 + 20
    two = nv.teaching.row(pictures, height=40, columns=2)
    assert two.height == 2 * (40 + 8)
    with pytest.raises(nv.ArgumentTypeError, match="1 captions"):
        nv.teaching.row(pictures, ["a"])


def test_a_signed_map_has_zero_in_the_middle_of_its_colours() -> None:
    values = torch.tensor([[-1.0, 0.0, 1.0]])
    left, middle, right = (nv.teaching.row([values], height=1).getpixel((x, 0)) for x in range(3))
    assert min(middle) > 200
    assert left[2] > left[0]
    assert right[0] > right[2]


def test_a_chart_has_a_bar_for_each_number() -> None:
    sheet = nv.teaching.chart({"a": [1, 2, 3], "b": [1e-6, 1, 2]}, log=True, labels=["x", "y", "z"])
    assert sheet.width > 400
    assert len(sheet.getcolors(100000)) > 2


def test_a_box_is_drawn_around_its_pixels() -> None:
    sheet = nv.teaching.row([torch.zeros(10, 10)], boxes=[(2, 4, 6, 8)], height=100)
    orange = [(x, y) for x in range(100) for y in range(100) if sheet.getpixel((x, y)) == (224, 138, 30)]
    columns, rows = zip(*orange, strict=True)
    assert (min(columns), max(columns), min(rows), max(rows)) == (40, 79, 20, 59)
    with pytest.raises(nv.ArgumentTypeError, match="2 boxes"):
        nv.teaching.row([torch.zeros(10, 10)], boxes=[None, None])
