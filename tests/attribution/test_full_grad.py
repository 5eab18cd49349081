"""FullGrad adds up to the score, and its terms are those that hooks on the modules find."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nbcnnviz as nv
from tests.attribution.test_propagation import CLASS, SIZE, lively
from tests.untouched import photograph


def pictures(count: int = 2) -> Tensor:
    return torch.randn(count, 3, SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["vgg11", "vgg11_bn", "resnet18", "googlenet", "squeezenet1_1"])
def test_what_is_mapped_adds_up_to_the_score(name: str) -> None:
    trace = nv.Network(lively(name), size=(SIZE, SIZE)).trace(pictures())
    result = nv.attribute(trace, method="full_grad", target=CLASS)
    assert result.values.shape == (2, 1, SIZE, SIZE)
    assert result.values.abs().max() > 0
    assert result.completeness is not None
    gradient = nv.attribute(trace, method="input_x_gradient", target=CLASS).values.flatten(1).sum(1)
    scores = trace.scores[:, CLASS].detach()
    assert bool(((gradient - scores).abs() > 1e-3 * scores.abs()).all())  # the biases do matter
    assert float((result.completeness / scores.abs()).max()) < 1e-9


class Plain(nn.Module):
    """Convolutions with biases and without, a batch normalisation, functional and in-place rectifiers, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm = nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.two, self.three = nn.Conv2d(5, 6, 3, stride=2), nn.Conv2d(6, 6, 1, bias=False)
        self.head = nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.one(x)), inplace=True)
        x = F.max_pool2d(F.relu(self.two(x)), 2)
        return self.head(torch.relu(self.three(x)).mean((2, 3)))


def plain() -> Plain:
    torch.manual_seed(0)
    module = Plain().double().eval()
    with torch.no_grad():
        for values in (module.norm.weight, module.norm.running_var):
            values.uniform_(0.5, 2)
        module.norm.bias.normal_(), module.norm.running_mean.normal_()
    return module


def by_hooks(module: Plain, x: Tensor) -> tuple[Tensor, Tensor]:
    """The paper's map of the class, and the sum of its terms, by hooks on the modules that have a bias."""
    made: list[tuple[nn.Module, Tensor]] = []

    def keep(part: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        made.append((part, output))
        return output.clone()  # a rectifier in place leaves what is kept as it is

    hooks = [part.register_forward_hook(keep) for part in module.children()]
    x = x.clone().requires_grad_(True)
    scores = module(x)[:, CLASS]
    gradients = torch.autograd.grad(scores.sum(), [x, *(output for _, output in made)])
    for hook in hooks:
        hook.remove()
    terms = [x.detach() * gradients[0]]
    for (part, _), gradient in zip(made, gradients[1:], strict=True):
        bias = part.bias
        if isinstance(part, nn.BatchNorm2d):
            bias = part.bias - part.weight * part.running_mean / (part.running_var + part.eps).sqrt()
        if bias is not None:
            terms.append((bias.view(-1, *[1] * (gradient.ndim - 2)) * gradient).detach())
    heat = torch.zeros(len(x), 1, *x.shape[2:], dtype=x.dtype)
    for term in terms:
        if term.ndim == 4:
            size = term.abs()
            low, high = size.amin((1, 2, 3), keepdim=True), size.amax((1, 2, 3), keepdim=True)
            scaled = (size - low) / (high - low)
            heat += F.interpolate(scaled, x.shape[2:], mode="bilinear", align_corners=False).sum(1, keepdim=True)
    return heat, sum(term.flatten(1).sum(1) for term in terms) - scores.detach()


def test_the_map_is_that_of_the_terms_found_by_hooks() -> None:
    module, x = plain(), pictures()
    expected, missing = by_hooks(module, x)
    assert float(missing.abs().max()) < 1e-12
    found = nv.attribute(nv.Network(module, size=(SIZE, SIZE)).trace(x), method="full_grad", target=CLASS)
    torch.testing.assert_close(found.values, expected)


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_parameters_and_a_network_given_in_place_of_a_trace_change_nothing(frozen: bool) -> None:
    module, x = plain(), pictures()
    expected, _ = by_hooks(module, x)
    network = nv.Network(module.requires_grad_(not frozen), size=(SIZE, SIZE))
    before = photograph(module)
    found = nv.attribute(network, x, method="full_grad", target=CLASS)
    assert photograph(module) == before
    torch.testing.assert_close(found.values, expected)


def test_activations_that_bend_have_a_bias_too() -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Conv2d(4, 4, 3), nn.ReLU6(), nn.Conv2d(4, 10, 3))
    module = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten()).double().eval()
    with torch.no_grad():
        body[2].bias.add_(5)  # beyond 6 for many
    trace = nv.Network(module, size=(SIZE, SIZE)).trace(pictures())
    result = nv.attribute(trace, method="full_grad", target=CLASS)
    assert float(result.completeness.max()) < 1e-12


def test_without_biases_it_is_the_scaled_magnitude_of_input_times_gradient() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10, bias=False)
    )
    trace = nv.Network(module.double().eval(), size=(SIZE, SIZE)).trace(pictures())
    product = nv.attribute(trace, method="input_x_gradient", target=CLASS).values.abs()
    low, high = product.amin((1, 2, 3), keepdim=True), product.amax((1, 2, 3), keepdim=True)
    expected = ((product - low) / (high - low)).sum(1, keepdim=True)
    torch.testing.assert_close(nv.attribute(trace, method="full_grad", target=CLASS).values, expected)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_networks_whose_biases_are_no_maps_are_refused_with_what_would_do(name: str) -> None:
    trace = nv.Network(timm.create_model(name, num_classes=10).eval()).trace("chelsea")
    with pytest.raises(nv.MethodNotApplicableError, match=r"FullGrad has no meaning .* Take 'input_x_gradient'"):
        nv.attribute(trace, method="full_grad", target=CLASS)


def test_a_normalisation_of_all_pictures_in_one_row_is_refused() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    trace = nv.Network(module.double().eval(), size=(SIZE, SIZE)).trace(pictures())
    with pytest.raises(nv.MethodNotApplicableError, match="this method cannot follow it"):
        nv.attribute(trace, method="full_grad", target=2)


def test_it_has_no_map_at_one_layer() -> None:
    trace = nv.Network(plain(), size=(SIZE, SIZE)).trace(pictures())
    with pytest.raises(nv.MethodNotApplicableError, match="leave the layer out"):
        nv.attribute(trace, method="full_grad", target=CLASS, layer="two")
