"""The public calls beside Captum, torch-cam and pytorch-grad-cam, and beside the passes that they cannot do without.

F is a forward pass of the user's module under ``no_grad``, B a backward pass to the input, b one to a layer, on a graph
that is kept; each is measured in the same rounds as what it is compared with.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import torch
import torchvision
from torch import Tensor, nn

import nbcnnviz as nv
from tests.benchmarks.peers import captum_five, grad_cams, quiet, torch_cam_with_scores_kept, twin
from tests.benchmarks.table import Row, at_least, at_most, ms
from tests.benchmarks.timing import interleaved

MARGIN = 1.15
"""How far above its bound a method may be."""

IN_A_ROW = 20
"""How many classes are asked about each time it is the turn of a call that needs no forward pass."""


def tables(rounds: int) -> Iterator[tuple[str, list[Row]]]:
    """Every table of this section."""
    torch.manual_seed(0)
    module = torchvision.models.resnet50(weights=None).eval()
    x = torch.randn(1, 3, 224, 224)
    net = nv.Network(module)
    with quiet():
        yield "First Grad-CAM: ResNet-50, layer4, 224 px", first_grad_cam(module, net, x, rounds)
        yield "Another class at the same layer: ResNet-50, layer4", another_class(module, net, x, rounds)
        yield "Another class elsewhere, beside the partial backward pass b alone", elsewhere(net, x, rounds)
        yield "Five methods for one picture: ResNet-50", five_methods(module, net, x, rounds)
        yield "From picture to map: ResNet-50", from_picture(module, net, x, rounds)
        yield "Further questions to one trace: ResNet-50", further_questions(module, net, x, rounds)


def first_grad_cam(module: nn.Module, net: nv.Network, x: Tensor, rounds: int) -> list[Row]:
    """Ours against the fastest of three peers, and against a bare forward pass."""
    one, two = "nv.attribute(net, x)", "net.trace(x), nv.attribute(trace)"
    with grad_cams(module, "layer4", x) as peers:
        calls = {name: _of(peer, 281) for name, peer in peers.items()}
        calls[one] = lambda: nv.attribute(net, x, method="grad_cam", target=281, layer="layer4")
        calls[two] = lambda: nv.attribute(net.trace(x), method="grad_cam", target=281, layer="layer4")
        calls["F"] = lambda: forward(module, x)
        took = interleaved(calls, rounds)
    fastest = min(peers, key=took.__getitem__)
    return [
        *(Row(name, ms(seconds), note=f"{seconds / took['F']:.2f} F") for name, seconds in took.items()),
        at_most(f"{one} / {fastest}", took[one] / took[fastest], 1.0, "the fastest peer"),
        at_most(f"{one} / 1.03 F", took[one] / (1.03 * took["F"]), MARGIN),
        Row(
            f"{two} / {fastest}", f"{took[two] / took[fastest]:.3f} x", note="keeps every layer, for what is asked next"
        ),
    ]


def another_class(module: nn.Module, net: nv.Network, x: Tensor, rounds: int) -> list[Row]:
    """One class after the other: from one trace, and from peers that start over."""
    trace, classes = net.trace(x), itertools.cycle(range(1000))
    ours, kept = "nv.attribute(trace, target=other)", "torch-cam, scores kept"
    with grad_cams(module, "layer4", x) as peers, torch_cam_with_scores_kept(module, "layer4", x) as with_scores:
        calls = {name: _of(peer, classes) for name, peer in peers.items()}
        calls[kept] = _of(with_scores, classes)
        calls[ours] = lambda: nv.attribute(trace, method="grad_cam", target=next(classes), layer="layer4")
        calls["b"] = lambda: backward(trace, next(classes), "layer4")
        took = interleaved(calls, rounds, in_a_row=dict.fromkeys((ours, kept, "b"), IN_A_ROW))
    return [
        *(Row(name, ms(seconds)) for name, seconds in took.items()),
        *(at_least(f"{name} / ours", took[name] / took[ours], 100) for name in peers),
        Row(f"{kept} / ours", f"{took[kept] / took[ours]:.3g} x", note="with retain_graph=True, for one layer"),
    ]


def elsewhere(resnet: nv.Network, x: Tensor, rounds: int) -> list[Row]:
    """Another class at other layers and networks."""
    rows = []
    lite, vgg = nv.load_network(), nv.Network(torchvision.models.vgg16(weights=None).eval(), name="VGG-16")
    places = [(resnet, "layer3"), (resnet, "layer2"), (lite, "blocks.3"), (lite, "blocks.6"), (vgg, "features.16")]
    for net, layer in [*places, (vgg, "features.28")]:
        trace, classes = net.trace(x), itertools.cycle(range(1000))
        took = interleaved(
            {
                "ours": lambda: nv.attribute(trace, method="grad_cam", target=next(classes), layer=layer),  # noqa: B023
                "b": lambda: backward(trace, next(classes), layer),  # noqa: B023
            },
            rounds,
            in_a_row={"ours": 3, "b": 3},
        )
        note = f"{ms(took['ours'])} / {ms(took['b'])}"
        rows.append(at_most(f"{net.name}, {layer}: ours / b", took["ours"] / took["b"], 1.2, note))
    return rows


def five_methods(module: nn.Module, net: nv.Network, x: Tensor, rounds: int) -> list[Row]:
    """Saliency, guided backprop, deconvnet, Grad-CAM and guided Grad-CAM: from one trace, and from Captum."""
    names = ("saliency", "guided_backprop", "deconvnet", "grad_cam", "guided_grad_cam")

    def ours() -> list[nv.Attribution]:
        trace = net.trace(x)
        layers = {"grad_cam": "layer4", "guided_grad_cam": "layer4"}
        return [nv.attribute(trace, method=name, target=281, layer=layers.get(name)) for name in names]

    captum = captum_five(module, "layer4", x)
    took = interleaved({"Captum's five calls": _of(captum, 281), "one trace, five calls": ours}, rounds)
    captums, own = took.values()
    return [*(Row(name, ms(seconds)) for name, seconds in took.items()), at_least("Captum / ours", captums / own, 2)]


def from_picture(module: nn.Module, net: nv.Network, x: Tensor, rounds: int) -> list[Row]:
    """Every method by its one-shot call, against its bound."""
    bounds = {"cam": 1.03, "grad_cam": 1.03, "guided_grad_cam": 2.21}  # else one backward pass to the input
    calls = {name: _one_shot(net, x, name) for name in nv.methods()}
    frozen = twin(module)
    for name, parameter in list(frozen.named_parameters()):
        owner, _, own = name.rpartition(".")
        frozen.get_submodule(owner)._parameters[own] = nn.Parameter(parameter.detach(), requires_grad=False)
    calls["F"] = lambda: forward(module, x)
    calls["F + B"] = lambda: forward_backward(frozen, x)
    took = interleaved(calls, rounds)
    rows = [Row(name, ms(took[name]), note=f"{took[name] / took['F']:.2f} F") for name in ("F", "F + B")]
    for name in nv.methods():
        bound = bounds.get(name, 2.2)
        note = f"{ms(took[name])} = {took[name] / took['F']:.2f} F"
        if bound > 2:
            note += f" = {took[name] / took['F + B']:.2f} (F + B)"
        rows.append(at_most(f"{name} / {bound} F", took[name] / (bound * took["F"]), MARGIN, note))
    return rows


def further_questions(module: nn.Module, net: nv.Network, x: Tensor, rounds: int) -> list[Row]:
    """Another class or rule on the retained graph; every layer's gradient at once."""
    trace, classes = net.trace(x), itertools.cycle(range(1000))
    calls: dict[str, Callable[[], object]] = {
        name: _next_class(trace, classes, name) for name in ("saliency", "guided_backprop", "deconvnet")
    }
    every = "trace and gradients of all layers"
    calls[every] = lambda: net.trace(x).gradient(281, nv.ALL_LAYERS)
    calls["F"] = lambda: forward(module, x)
    calls["B"] = lambda: backward(trace, next(classes), "input")
    full = "full B, to input and parameters"
    calls[full] = lambda: torch.autograd.grad(
        trace.scores[0, next(classes)], [trace.input, *trace.parameters.values()], retain_graph=True
    )
    took = interleaved(calls, rounds)
    f, b = took["F"], took["B"]
    rows = [Row(name, ms(took[name]), note=f"{took[name] / f:.2f} F") for name in ("F", "B", full)]
    for name in ("saliency", "guided_backprop", "deconvnet"):
        note = f"{ms(took[name])} = {took[name] / f:.2f} F = {took[name] / b:.2f} B"
        rows.append(at_most(f"{name} of another class / 1.05 F", took[name] / (1.05 * f), MARGIN, note))
    note = f"{ms(took[every])} = {took[every] / (f + b):.2f} (F + B)"
    rows.append(at_most(f"{every} / (F + full B)", took[every] / (f + took[full]), MARGIN, note))
    return rows


@torch.no_grad()
def forward(module: nn.Module, x: Tensor) -> Tensor:
    """F."""
    return module(x)


def forward_backward(frozen: nn.Module, x: Tensor) -> Tensor:
    """F + B, by nothing but torch, of a module whose parameters ask for no gradient."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(frozen(x)[0, 281], x)[0]


def backward(trace: nv.Trace, c: int, to: str) -> Tensor:
    """B, or b: nothing but ``torch.autograd.grad``."""
    wrt = trace.input if to == "input" else trace._activation(to).edge
    return torch.autograd.grad(trace.scores[:, c].sum(), wrt, retain_graph=True)[0]


def _of(call: Callable[[int], object], classes: int | Iterator[int]) -> Callable[[], object]:
    return (lambda: call(classes)) if isinstance(classes, int) else (lambda: call(next(classes)))


def _one_shot(net: nv.Network, x: Tensor, name: str) -> Callable[[], object]:
    layer = "layer4" if nv.methods()[name].needs_layer else None
    return lambda: nv.attribute(net, x, method=name, target=281, layer=layer)


def _next_class(trace: nv.Trace, classes: Iterator[int], name: str) -> Callable[[], object]:
    return lambda: nv.attribute(trace, method=name, target=next(classes))
