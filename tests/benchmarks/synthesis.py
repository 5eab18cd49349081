"""Pictures by gradient ascent: how near a step is to the passes it is made of, and whether the pictures are any good.

F + B is the bare forward pass to the layer and the backward pass to the picture, with frozen parameters, measured in the
same rounds. lucent, where it is installed, renders the same objective with the same canvas and views.
"""

from __future__ import annotations

import copy
import gc
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import psutil
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz import synthesis as s
from tests.benchmarks.table import Row, at_least, at_most, ms
from tests.benchmarks.timing import interleaved

CLASSES = ("daisy", "espresso", "tabby")
STILL = {"jitter": 0, "scale": 0, "rotate": 0, "jitter_after": 0, "redirected_relu": 0}
FOREVER = 10**9


def tables(rounds: int) -> Iterator[tuple[str, list[Row]]]:
    """Every table of this section."""
    torch.manual_seed(0)
    resnet = nv.Network(torchvision.models.resnet18(weights=None).eval(), name="ResNet-18")
    for layer in ("layer1", "layer4"):
        yield f"A step beside its passes: ResNet-18, {layer}, 224 px", steps(resnet, layer, rounds)
    yield "A gallery of 16 filters beside one at a time: ResNet-18, layer2", gallery(resnet, max(2, rounds // 4))
    yield "500 runs started and stopped: ResNet-18, layer1", runs(resnet, 500)
    net = nv.load_network()
    yield "Classes of the bundled network, from decoded 8-bit pictures, 256 steps", classes(net)
    yield "Every sample picture into a goldfish", fooled(net)


def steps(net: nv.Network, layer: str, rounds: int) -> list[Row]:
    """A step on bare pixels, and one of the Lucid recipe, against F + B."""
    bare = _bare(net.module, layer)
    target = nv.Channel(layer, 5)
    pixels = s.synthesize(net, target, steps=FOREVER, parameterization="pixels", start="noise", **STILL)
    lucid = s.feature_visualization(net, target, steps=FOREVER)
    for _ in range(17):  # dead rectifiers are looked for in the first 16 steps only
        next(lucid)
    took = interleaved(
        {
            "F + B": lambda: bare(torch.randn(1, 3, 224, 224)),
            "a step on pixels": lambda: next(pixels),
            "a step on waves, with views": lambda: next(lucid),
        },
        rounds,
    )
    bound = took["F + B"]
    rows = [Row(name, ms(seconds)) for name, seconds in took.items()]
    rows.append(at_most("pixels / (F + B)", took["a step on pixels"] / bound, 1.15))
    # Canvas and views are no passes of the network; for an early layer they count.
    ratio = took["a step on waves, with views"] / bound
    rows.append(Row("waves, with views / (F + B)", f"{ratio:.3f} x", note="the bound has neither"))
    lucent = _lucent(net, layer)
    if lucent is None:
        return [*rows, Row("lucent", "not installed")]
    theirs, ours = [], []
    for _ in range(3):
        theirs.append(lucent(rounds))
        start = time.perf_counter()
        for _ in range(rounds):
            next(lucid)
        ours.append((time.perf_counter() - start) / rounds)
    rows.append(Row("lucent, a step", ms(min(theirs))))
    return [*rows, at_least("lucent / waves, with views", min(theirs) / min(ours), 2.5)]


def gallery(net: nv.Network, rounds: int) -> list[Row]:
    """Sixteen channels in one run against one run."""
    together = s.synthesize(net, [nv.Channel("layer2", k) for k in range(16)], steps=FOREVER)
    alone = s.synthesize(net, nv.Channel("layer2", 0), steps=FOREVER)
    took = interleaved({"16 together": lambda: next(together), "one": lambda: next(alone)}, rounds)
    ratio = 16 * took["one"] / took["16 together"]
    return [*(Row(name, ms(seconds)) for name, seconds in took.items()), at_least("per picture", ratio, 1.0)]


def runs(net: nv.Network, count: int) -> list[Row]:
    """Memory, threads and tensors after many runs, against those after ten."""

    def run() -> None:
        frames = s.synthesize(net, nv.Channel("layer1", 1), size=64)
        next(frames)
        next(frames)
        frames.close()

    def state() -> tuple[float, int, int]:
        gc.collect()
        tensors = sum(issubclass(type(o), Tensor) for o in gc.get_objects())
        return psutil.Process().memory_info().rss / 1e6, threading.active_count(), tensors

    for _ in range(10):
        run()
    before = state()
    for _ in range(count):
        run()
    after = state()
    names = ("memory, MB", "threads", "tensors")
    allowed = (20, 0, 0)
    return [
        Row(name, f"{b:.0f} to {a:.0f}", f"<= +{more}", a - b <= more)
        for name, b, a, more in zip(names, before, after, allowed, strict=True)
    ]


def classes(net: nv.Network) -> list[Row]:
    """The probability of the class in its picture, and from 20 places and sizes."""
    rows = []
    for name in CLASSES:
        for recipe in (s.class_model, s.feature_visualization):
            *_, frame = recipe(net, name, steps=256)
            index = net.class_index(name)
            clean = _probability(net, frame.image, index)
            moved = [_probability(net, elsewhere(frame.image, seed), index) for seed in range(20)]
            what = f"{recipe.__name__}, {name}"
            rows.append(Row(f"{what}: clean", f"{clean:.4f}", ">= 0.95", clean >= 0.95))
            average = float(np.mean(moved))
            rows.append(Row(f"{what}: moved", f"{average:.4f}", ">= 0.95", average >= 0.95, f"least {min(moved):.3f}"))
    return rows


def fooled(net: nv.Network) -> list[Row]:
    """Steps, and the change in 8 bits, until the rounded picture too is a goldfish."""
    rows, goldfish = [], net.class_index("goldfish")
    for name in nv.samples():
        *_, frame = s.fool(net, name, to="goldfish")
        found = int(net.trace(decoded(net, frame.image), layers=[]).scores.argmax())
        met = found == goldfish and frame.step <= 40 and frame.change_l2 < 0.015
        measured = f"{frame.step} steps, {frame.change_l2:.2%}"
        was = frame.original.top(1)[0][1]
        rows.append(Row(f"{name}, {was}", measured, "<= 40 steps, < 1.5 %", met, f"{frame.change_linf} levels at most"))
    return rows


def decoded(net: nv.Network, image: Image.Image) -> Tensor:
    """The input for the very pixels of an 8-bit picture, neither scaled nor cropped: (1, C, H, W)."""
    normalise = net.preprocess.transforms[-1]  # type: ignore[attr-defined]
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1) / 255
    return ((pixels - normalise.mean.view(3, 1, 1)) / normalise.std.view(3, 1, 1))[None]


def elsewhere(image: Image.Image, seed: int) -> Image.Image:
    """Rescaled by 0.85 to 1.15 and shifted by up to 16 pixels, at random, on grey."""
    random = np.random.default_rng(seed)
    side = round(image.width * random.uniform(0.85, 1.15))
    down, right = ((image.width - side) // 2 + int(d) for d in random.integers(-16, 17, 2))
    ground = Image.new("RGB", image.size, (128, 128, 128))
    ground.paste(image.resize((side, side), Image.Resampling.BICUBIC), (right, down))
    return ground


def _probability(net: nv.Network, image: Image.Image, index: int) -> float:
    return net.trace(decoded(net, image), layers=[]).probabilities[0, index].item()


def _bare(module: nn.Module, layer: str) -> Callable[[Tensor], Tensor]:
    """F + B as anybody would write it for a network that is a sequence of children."""
    names = [name for name, _ in module.named_children()]
    front = nn.Sequential(*(module.get_submodule(name) for name in names[: names.index(layer) + 1]))
    front = copy.deepcopy(front).requires_grad_(False)

    def gradient(x: Tensor) -> Tensor:
        x.requires_grad_()
        return torch.autograd.grad(front(x)[:, 5].mean(), x)[0]

    return gradient


def _lucent(net: nv.Network, layer: str) -> Callable[[int], float] | None:
    """Seconds a step of lucent's usual rendering, as a function of the number of steps; None if it is not installed."""
    try:
        from lucent.optvis import param, render
    except ImportError:
        return None

    module = copy.deepcopy(net.module)  # its hooks stay

    def seconds(count: int) -> float:
        start = time.perf_counter()
        render.render_vis(
            module,
            f"{layer}:5",
            lambda: param.image(224, fft=True, decorrelate=True),
            thresholds=(count,),
            show_image=False,
            progress=False,
        )
        return (time.perf_counter() - start) / count

    return seconds
