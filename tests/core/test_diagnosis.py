"""What keeps a gradient from passing is named, and a module that sets grad mode is answered alike by every route."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import nbcnnviz as nv
from tests import toys
from tests.conftest import relative_error

X = torch.linspace(-1, 1, 3 * 12 * 12).reshape(1, 3, 12, 12)


class Net(nn.Module):
    """Runs its body by a function that may cut the gradient."""

    def __init__(self, way: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.way = way
        self.stem = nn.Conv2d(3, 4, 3)
        self.body = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU())
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.way(self.body, self.stem(x)).mean((2, 3)))


def under(context: Callable) -> Callable[[nn.Module, Tensor], Tensor]:
    def way(body: nn.Module, x: Tensor) -> Tensor:
        with context():
            return body(x)

    return way


CUTS = {
    "no_grad": (under(torch.no_grad), "runs layer 'body' under torch.no_grad"),
    "grad mode off": (under(lambda: torch.set_grad_enabled(False)), "runs layer 'body' under torch.no_grad"),
    "inference_mode": (under(torch.inference_mode), "runs layer 'body' under torch.inference_mode"),
    "decorator": (torch.no_grad()(lambda body, x: body(x)), "runs layer 'body' under torch.no_grad"),
    "detach": (lambda body, x: body(x).detach(), r"\(Net\) detaches a tensor"),
    "data": (lambda body, x: body(x).data, r"\(Net\) takes the \.data of a tensor"),
}


ROUTES: dict[str, Callable[[nv.Network], object]] = {
    "attribute(net)": lambda network: nv.attribute(network, X, target=1, layer="stem"),
    "attribute(trace)": lambda network: nv.attribute(network.trace(X), target=1, layer="stem"),
    "saliency": lambda network: nv.attribute(network, X, method="saliency", target=1),
    "excitation": lambda network: nv.attribute(network, X, method="excitation_backprop", target=1),
    "lrp": lambda network: nv.attribute(network, X, method="lrp", target=1),
    "full gradient": lambda network: nv.attribute(network, X, method="full_grad", target=1),
    "input": lambda network: network.trace(X).gradient(1),
}


@pytest.mark.parametrize("name", CUTS)
@pytest.mark.parametrize("route", ROUTES)
def test_what_cuts_the_gradient_is_named_by_every_route(name: str, route: str) -> None:
    way, said = CUTS[name]
    network = nv.Network(Net(way).eval(), size=12)
    with pytest.raises(nv.NbcnnvizError, match=said):
        ROUTES[route](network)


def test_arithmetic_under_no_grad_in_a_module_is_named_with_the_module() -> None:
    def way(body: nn.Module, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = x * 2
        return body(y)

    with pytest.raises(nv.GradientError, match=r"the module itself \(Net\) computes under torch\.no_grad"):
        nv.Network(Net(way).eval(), size=12).trace(X).gradient(1)


def test_a_function_without_a_gradient_is_named() -> None:
    def way(body: nn.Module, x: Tensor) -> Tensor:
        return body(x.argmax(1, keepdim=True).float().expand_as(x))

    with pytest.raises(nv.GradientError, match="calls argmax, which has no gradient"):
        nv.Network(Net(way).eval(), size=12).trace(X).gradient(1)


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("layer", ["stem", "body", "body.0"])
def test_a_module_that_sets_grad_mode_is_answered_alike_by_every_route(flag: bool, layer: str) -> None:
    network = nv.Network(Net(under(lambda: torch.set_grad_enabled(flag))).eval(), size=12)

    def answer(source: object, *image: Tensor) -> object:
        try:
            return nv.attribute(source, *image, method="grad_cam", target=1, layer=layer).values
        except nv.NbcnnvizError as error:
            return str(error)

    one, other = answer(network, X), answer(network.trace(X))
    if flag:
        expected = nv.attribute(nv.Network(_plain(network.module), size=12), X, target=1, layer=layer).values
        assert torch.equal(one, expected)
        assert torch.equal(other, expected)
    else:
        assert one == other
        assert "no_grad" in str(one)


def _plain(module: Net) -> Net:
    plain = Net(lambda body, x: body(x)).eval()
    plain.load_state_dict(module.state_dict())
    return plain


def test_a_target_without_a_gradient_is_not_blamed_on_the_network() -> None:
    trace = nv.Network(toys.classic(), size=12).trace(X)
    with pytest.raises(nv.GradientError, match="does not depend on the trace"):
        trace.gradient(lambda t: t.scores.detach().sum())
    assert trace.network.gradient_cut() is None


def test_reentrant_checkpointing_is_named_with_its_remedy() -> None:
    network = nv.Network(Net(lambda body, x: checkpoint(body, x, use_reentrant=True)).eval(), size=12)
    for ask in (
        lambda: network.trace(X).gradient(1),
        lambda: network.trace(X).gradient(1, "body.0"),
        lambda: nv.attribute(network, X, target=1, layer="stem"),
    ):
        with pytest.raises(nv.GradientError, match="use_reentrant=False"):
            ask()


def test_checkpointing_that_is_not_reentrant_changes_nothing() -> None:
    module = Net(lambda body, x: checkpoint(body, x, use_reentrant=False)).eval()
    trace, expected = (nv.Network(m, size=12).trace(X) for m in (module, _plain(module)))
    for rule in ("gradient", "guided", "deconvnet"):
        assert relative_error(trace.gradient(1, rule=rule), expected.gradient(1, rule=rule)) < 1e-6
    assert relative_error(trace.gradient(1, "body.0"), expected.gradient(1, "body.0")) < 1e-6


def test_a_quantised_network_says_that_it_has_no_gradient() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dynamic = torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, dtype=torch.qint8)
    network = nv.Network(dynamic, size=12)
    assert torch.equal(network.trace(X).scores, dynamic(X))
    with pytest.raises(nv.GradientError, match=r"quantised \(layer '4' is a Linear\).*in floating point"):
        network.trace(X).gradient(1)


def test_a_backward_pass_that_fails_is_an_error_of_ours() -> None:
    class Refuses(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            raise RuntimeError("no way back")

    network = nv.Network(Net(lambda body, x: Refuses.apply(body(x))).eval(), size=12)
    with pytest.raises(nv.GradientError, match=r"The backward pass failed: no way back\."):
        network.trace(X).gradient(1)
