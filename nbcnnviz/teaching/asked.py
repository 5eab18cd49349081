"""The exercises of the notebooks, and what is right: each answer is compared with one worked out in another way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nbcnnviz.core.network import Network
from nbcnnviz.teaching.checking import Wrong, exercise
from nbcnnviz.teaching.digits import MARKED_CLASS


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _expect(found: Any, expected: Tensor, slips: dict[str, Tensor] | None = None) -> None:
    """Raise `Wrong` unless the numbers are those expected; ``slips`` are frequent mistakes, by what they are."""
    found = torch.as_tensor(found, dtype=torch.float64)
    if found.shape != expected.shape:
        raise Wrong(f"the shape is {tuple(found.shape)}, and should be {tuple(expected.shape)}.")
    if torch.allclose(found, expected, atol=1e-6):
        return
    for what, numbers in (slips or {}).items():
        if found.shape == numbers.shape and torch.allclose(found, numbers, atol=1e-6):
            raise Wrong(what)
    off = float((found - expected).abs().max())
    raise Wrong(f"the shape is right and the numbers are not: the largest difference is {off:.3g}.")


@exercise("second-class", "The index of the second most probable class of the sample 'coffee', a whole number.")
def _second(answer: Any) -> str:
    from nbcnnviz.zoo import load_network

    (first, name, _), (second, wanted, _) = load_network().trace("coffee").top(2)
    if answer == first:
        raise Wrong(f"{first} is {name}, the most probable one; the second is asked for.")
    if answer == wanted:
        raise Wrong("this is its name; the index is the first of the three in each row.")
    if answer != second:
        raise Wrong(f"{answer!r} is not it: look at the second row of trace.top(5).")
    return f"class {second} is {wanted}."


@exercise(
    "convolve",
    "A function of a picture (H, W) and a kernel (k, k) that returns (H - k + 1, W - k + 1) sums of products.",
)
def _convolve(answer: Any) -> str:
    picture, kernel = _random(7, 9), _random(3, 3, seed=1)
    expected = F.conv2d(picture[None, None], kernel[None, None])[0, 0]
    flipped = F.conv2d(picture[None, None], kernel.flip(0, 1)[None, None])[0, 0]
    padded = F.conv2d(picture[None, None], kernel[None, None], padding=1)[0, 0]
    found = torch.as_tensor(answer(picture, kernel), dtype=torch.float64)
    if found.shape == padded.shape:
        raise Wrong("this is as large as the picture: slide the kernel only where it lies wholly inside.")
    _expect(
        found,
        expected,
        {"the kernel is flipped: that is convolution as in mathematics, networks do not flip.": flipped},
    )
    return "the same numbers as torch.nn.functional.conv2d."


@exercise(
    "output-size",
    "A function of size, kernel, stride and padding that returns the height of the output, a whole number.",
)
def _output_size(answer: Any) -> str:
    for size, kernel, stride, padding in ((32, 7, 1, 3), (32, 2, 2, 0), (224, 7, 2, 3), (5, 3, 2, 0), (6, 3, 2, 0)):
        expected = F.conv2d(
            torch.zeros(1, 1, size, size), torch.zeros(1, 1, kernel, kernel), None, stride, padding
        ).shape[-1]
        found = answer(size, kernel, stride, padding)
        if found != expected:
            raise Wrong(
                f"for size {size}, kernel {kernel}, stride {stride}, padding {padding} it returns {found!r}; a real "
                f"convolution returns {expected}."
            )
    return "five sizes agree with real convolutions."


@exercise(
    "receptive-field",
    "A function of a list of (kernel, stride), the first layer first, that returns the field's side in pixels.",
)
def _receptive_field(answer: Any) -> str:
    for layers in (
        [(3, 1)],
        [(3, 1), (3, 1)],
        [(7, 1), (2, 2), (3, 1)],
        [(7, 1), (2, 2), (3, 1), (2, 2), (3, 1)],
        [(3, 2)] * 3,
    ):
        x = torch.ones(1, 1, 96, 96, requires_grad=True)
        y = x
        for kernel, stride in layers:
            y = F.conv2d(y, torch.ones(1, 1, kernel, kernel), stride=stride)
        (seen,) = torch.autograd.grad(y[0, 0, y.shape[2] // 2, y.shape[3] // 2], x)
        expected = int((seen[0, 0].sum(0) != 0).sum())
        found = answer(list(layers))
        if found != expected:
            naive = 1 + sum(kernel - 1 for kernel, _ in layers)
            hint = " A step of one place in a deeper layer is a step of several pixels." if found == naive else ""
            raise Wrong(
                f"for the layers {layers} it returns {found!r}, and the gradient reaches {expected} pixels.{hint}"
            )
    return "the fields are those that gradients reach."


@exercise(
    "loss-gradient",
    "A function of scores (N, K) and labels (N,) that returns the gradient (N, K) of the summed cross-entropy.",
)
def _loss_gradient(answer: Any) -> str:
    scores, labels = _random(3, 5).requires_grad_(), torch.tensor([0, 3, 4])
    (expected,) = torch.autograd.grad(F.cross_entropy(scores, labels, reduction="sum"), scores)
    slips = {
        "the sign is the wrong way round: this is the way down, the gradient points up.": -expected,
        "this is the gradient of the mean over pictures; the sum is asked for.": expected / 3,
        "these are the probabilities: one is still to be taken away at each label.": scores.detach().softmax(1),
    }
    _expect(answer(scores.detach(), labels), expected, slips)
    return "p minus the one-hot vector, as autograd finds."


@exercise(
    "saliency", "A function of a gradient (N, C, H, W) that returns (N, 1, H, W): the largest magnitude over channels."
)
def _saliency(answer: Any) -> str:
    gradient = _random(2, 3, 4, 5)
    slips = {
        "the largest value is not the largest magnitude: take the absolute value first.": gradient.amax(
            1, keepdim=True
        ),
        "this is the magnitude of the largest value: take the absolute value first, then the largest.": gradient.amax(
            1, keepdim=True
        ).abs(),
        "this is the sum over channels; Simonyan et al. take the largest.": gradient.abs().sum(1, keepdim=True),
        "this is the mean over channels; Simonyan et al. take the largest.": gradient.abs().mean(1, keepdim=True),
    }
    expected = torch.maximum(torch.maximum(gradient[:, 0].abs(), gradient[:, 1].abs()), gradient[:, 2].abs())[:, None]
    found = torch.as_tensor(answer(gradient))
    if found.shape == (2, 4, 5):
        raise Wrong("the axis of channels is gone: keep it with length 1 (keepdim=True).")
    _expect(found, expected, slips)
    return "the saliency map of Simonyan et al. 2013."


@exercise(
    "probability-gradient",
    "A function of p (K,), G (K, D) with the scores' gradients as rows, and c, that returns the gradient (D,) of p[c].",
)
def _probability_gradient(answer: Any) -> str:
    x, matrix = _random(6).requires_grad_(), _random(4, 6, seed=1)
    p = (matrix @ x).softmax(0)
    for c in range(4):
        (expected,) = torch.autograd.grad(p[c], x, retain_graph=True)
        known = p.detach()
        slips = {
            "p_c (1 - p_c) G_c leaves the other scores out: they depend on the picture too.": known[c]
            * (1 - known[c])
            * matrix[c],
            "p_c G_c leaves out what softmax takes away: the mean of all rows of G, weighted by p.": known[c]
            * matrix[c],
        }
        _expect(answer(known, matrix, c), expected, slips)
    return "as autograd finds it through the softmax."


@exercise(
    "guided-relu",
    "A function of what arrives, g, and of the rectifier's input, x, that returns what guided backprop passes on.",
)
def _guided(answer: Any) -> str:
    g, x = _random(8), _random(8, seed=3)
    slips = {
        "this is the plain gradient: guided backprop lets only positive g through.": g * (x > 0),
        "this is deconvnet: guided backprop also asks whether the rectifier's input was positive.": g.clamp(min=0),
    }
    _expect(answer(g, x), torch.where((g > 0) & (x > 0), g, torch.zeros_like(g)), slips)
    return "relu(g) where x > 0 (Springenberg et al. 2014)."


@exercise(
    "deconvnet-relu",
    "A function of what arrives, g, and of the rectifier's input, x, that returns what deconvnet passes on.",
)
def _deconvnet(answer: Any) -> str:
    g, x = _random(8), _random(8, seed=3)
    slips = {
        "this is the plain gradient: deconvnet rectifies what arrives, and does not look at x.": g * (x > 0),
        "this is guided backprop: deconvnet does not look at x.": g.clamp(min=0) * (x > 0),
    }
    _expect(answer(g, x), torch.where(g > 0, g, torch.zeros_like(g)), slips)
    return "relu(g), whatever x was (Zeiler & Fergus 2014)."


@exercise(
    "unpool",
    "A function of values (h, w), rows (h, w), columns (h, w) and size (H, W) that puts each value at its switch, zero elsewhere.",
)
def _unpool(answer: Any) -> str:
    maps = _random(1, 6, 6).float()
    values, places = F.max_pool2d(maps, 2, return_indices=True)
    expected = F.max_unpool2d(values, places, [2, 2])[0]
    even = F.interpolate(values[None], scale_factor=2)[0, 0]
    slips = {"every place of a window has the value: it belongs at its switch alone.": even.double()}
    _expect(answer(values[0], places[0] // 6, places[0] % 6, (6, 6)), expected.double(), slips)
    return "unpooling with switches."


@exercise(
    "cam",
    "A function of maps (K, h, w), weights (classes, K) and a class c that returns the class activation map (h, w).",
)
def _cam(answer: Any) -> str:
    maps, weights = _random(5, 4, 3).abs(), _random(7, 5, seed=1)
    raw = torch.einsum("k,khw->hw", weights[2], maps)
    _expect(answer(maps, weights, 2), raw.clamp(min=0), {"the negative values are still there: take the relu.": raw})
    return "relu of the weighted sum of the maps (Zhou et al. 2016)."


@exercise(
    "grad-cam", "A function of maps (K, h, w) and the score's gradient at them (K, h, w) that returns the map (h, w)."
)
def _grad_cam(answer: Any) -> str:
    maps, gradient = _random(5, 4, 3).abs(), _random(5, 4, 3, seed=1)
    raw = torch.zeros(4, 3, dtype=torch.float64)
    for k in range(5):
        raw += gradient[k].sum() / 12 * maps[k]
    slips = {
        "the negative values are still there: take the relu.": raw,
        "this is HiRes-CAM: Grad-CAM takes the mean of each gradient over places before it multiplies.": (
            maps * gradient
        )
        .sum(0)
        .clamp(min=0),
        "the weights are sums over places: Grad-CAM takes the mean.": (raw * 12).clamp(min=0),
        "the relu is taken of each product: take it once, of the sum.": (gradient.mean((1, 2), keepdim=True) * maps)
        .clamp(min=0)
        .sum(0),
    }
    _expect(answer(maps, gradient), raw.clamp(min=0), slips)
    return "relu of the sum of A_k times the mean of its gradient (Selvaraju et al. 2017)."


@exercise(
    "ascent-step",
    "A function of a picture, a gradient and a length that returns the picture, that length along the gradient.",
)
def _ascent(answer: Any) -> str:
    picture, gradient = _random(3, 4, 4), 7 * _random(3, 4, 4, seed=1)
    way = gradient / gradient.square().sum().sqrt()
    slips = {
        "this goes down: the gradient points to where the score rises, add it.": picture - 0.5 * way,
        "the step is as long as the gradient says: divide the gradient by its norm first.": picture + 0.5 * gradient,
    }
    _expect(answer(picture, gradient, 0.5), picture + 0.5 * way, slips)
    return "a step of the length asked for."


@exercise(
    "eight-bits",
    "A function of pixels in [0, 1], or a little outside, that returns them as a file of 8 bits has them, in [0, 1].",
)
def _eight_bits(answer: Any) -> str:
    pixels = torch.tensor([-0.2, 0.0, 0.1, 0.5, 0.7499, 1.0, 1.3], dtype=torch.float64)
    expected = torch.tensor([0, 0, 26, 128, 191, 255, 255], dtype=torch.float64) / 255
    slips = {
        "values are cut off at the next lower level: round to the nearest.": (pixels.clamp(0, 1) * 255).floor() / 255,
        "values outside [0, 1] are still there: a file has none.": (pixels * 255).round() / 255,
        "these are the levels 0 to 255: divide by 255 again.": expected * 255,
    }
    _expect(answer(pixels), expected, slips)
    return "256 levels."


@exercise(
    "deletion-area",
    "A function of shares (n,) and values (n,) that returns the area under the curve by the trapezoidal rule.",
)
def _area(answer: Any) -> str:
    shares = torch.tensor([0, 0.1, 0.3, 0.6, 1], dtype=torch.float64)
    values = torch.tensor([0.9, 0.8, 0.3, 0.1, 0.05], dtype=torch.float64)
    slips = {
        "this is the mean of the values: the points are not equally far apart.": values.mean(),
        "this takes each step's left value: take the mean of left and right.": (shares.diff() * values[:-1]).sum(),
        "this takes each step's right value: take the mean of left and right.": (shares.diff() * values[1:]).sum(),
    }
    _expect(answer(shares, values), torch.trapezoid(values, shares), slips)
    return "the trapezoidal rule."


_MARK = (25, 25, 31, 31)


@exercise(
    "shortcut",
    "Five numbers: the digit that carries the mark, and its box, top, left, bottom and right, in pixels of the picture.",
)
def _shortcut(answer: Any) -> str:
    if not isinstance(answer, Sequence) or len(answer) != 5:
        raise Wrong("give five whole numbers: (digit, top, left, bottom, right).")
    digit, *box = answer
    if digit != MARKED_CLASS:
        raise Wrong(f"it is not the {digit}: compare the maps of all ten digits, and where they point.")
    top, left, bottom, right = box
    both = max(0, min(bottom, _MARK[2]) - max(top, _MARK[0])) * max(0, min(right, _MARK[3]) - max(left, _MARK[1]))
    either = (bottom - top) * (right - left) + (_MARK[2] - _MARK[0]) * (_MARK[3] - _MARK[1]) - both
    if bottom <= top or right <= left or both <= 0.3 * either:
        raise Wrong("the digit is right, the box is not: where does its map point on most of its pictures?")
    return f"the mark lies in rows {_MARK[0]} to {_MARK[2] - 1} and columns {_MARK[1]} to {_MARK[3] - 1}."


@exercise("your-network", "A Network of the module, whose ten classes have the names 'zero', 'one', ... 'nine'.")
def _your_network(answer: Any) -> str:
    if not isinstance(answer, Network):
        raise Wrong(f"this is a {type(answer).__name__}: wrap it, nv.Network(module, ...).")
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    if list(answer.classes) != names:
        raise Wrong(f"its classes are {', '.join(answer.classes[:3])} ...: give classes=[...], in order.")
    if answer.input_shape != (1, 32, 32):
        raise Wrong(f"its input is {answer.input_shape}: say size=32, or give the preprocess.")
    return "a network of one channel with names for its classes."
