"""Integrated gradients, SmoothGrad, its square and VarGrad: against Captum, by hand, and by what they promise."""

from __future__ import annotations

from itertools import pairwise

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz.attribution.sampling import baseline, generator
from tests.toys import Branching, Tiny, classic

NOISY = ("smooth_grad", "smooth_grad_squared", "var_grad")


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(2)
    return nv.Network(classic(), size=(18, 22))


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.randn(2, 3, 18, 22, generator=torch.Generator().manual_seed(5))


class Quadratic(nn.Module):
    """Scores sum_p w_kp x_p^2: every number is known."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 6, 5, generator=torch.Generator().manual_seed(1)))

    def forward(self, x: Tensor) -> Tensor:
        return (x.square()[:, None] * self.weight).flatten(2).sum(2)


class WithoutBiases(nn.Module):
    """A ReLU network whose score is linear in the length of the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, bias=False), nn.Conv2d(6, 5, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x).relu()).relu().mean((2, 3))


@pytest.fixture(scope="module")
def quadratic() -> nv.Network:
    return nv.Network(Quadratic(), size=(6, 5))


def each_step(source: object, **options: object) -> list[nv.Attribution]:
    return list(nv.attribute.stream(source, **options))


@pytest.mark.parametrize("steps", [1, 7, 20])
@pytest.mark.parametrize("start", ["black", "mean", "blur"])
def test_integrated_gradients_are_captums(net: nv.Network, pictures: Tensor, steps: int, start: str) -> None:
    trace = net.trace(pictures)
    found = nv.attribute(trace, method="integrated_gradients", target=[1, 3], steps=steps, baseline=start)
    expected = captum.attr.IntegratedGradients(net.module).attribute(
        pictures, baseline(trace, start).clone(), target=[1, 3], n_steps=steps, method="gausslegendre"
    )
    assert torch.allclose(found.values, expected, rtol=1e-4, atol=1e-6)


def test_the_integral_of_a_quadratic_is_exact_and_complete(quadratic: nv.Network) -> None:
    x, start = torch.randn(1, 3, 6, 5), torch.randn(1, 3, 6, 5)
    found = nv.attribute(quadratic, x, method="integrated_gradients", target=2, steps=3, baseline=start)
    expected = (x.square() - start.square()) * quadratic.module.weight[2].detach()
    assert torch.allclose(found.values, expected, atol=1e-5)
    assert found.completeness.shape == (1,)
    assert float(found.completeness) < 1e-4


def test_what_is_missing_to_completeness_is_told(net: nv.Network, pictures: Tensor) -> None:
    frames = each_step(net.trace(pictures), method="integrated_gradients", target=0, steps=3, baseline="blur", batch=2)
    start = baseline(net.trace(pictures), "blur")
    with torch.no_grad():
        difference = (net.module(pictures) - net.module(start))[:, 0]
    expected = (frames[-1].values.flatten(1).sum(1) - difference).abs()
    assert torch.allclose(frames[-1].completeness.float(), expected, atol=1e-4)
    assert all(frame.completeness is None for frame in frames[:-1])


def test_a_map_that_misses_the_change_of_the_score_says_so(net: nv.Network, quadratic: nv.Network) -> None:
    pictures = torch.randn(2, 3, *net.input_shape[1:], generator=torch.Generator().manual_seed(1))
    *early, found = each_step(net.trace(pictures), method="integrated_gradients", target=0, steps=1, baseline="black")
    total = found.values.double().flatten(1).sum(1)
    change = (net.scores(pictures) - net.scores(baseline(net.trace(pictures), "black")))[:, 0].double()
    assert bool(((total - change).abs() > 0.01 * change.abs()).any())
    worst = int((total - change).abs().argmax())
    assert found.notes == (f"its sum is {total[worst]:.3g}, and the score changes by {change[worst]:.3g}",)
    assert found.notes[0] in repr(found)
    assert not any(frame.notes for frame in early)
    x, start = torch.randn(1, 3, 6, 5), torch.randn(1, 3, 6, 5)
    whole = nv.attribute(quadratic, x, method="integrated_gradients", target=2, steps=3, baseline=start)
    assert whole.notes == ()
    none = nv.attribute(quadratic, x, method="integrated_gradients", target=2, steps=3, baseline=x)
    assert none.notes == ()  # nothing changes, and nothing is missing


def test_without_biases_integrated_gradients_are_input_times_gradient(pictures: Tensor) -> None:
    torch.manual_seed(0)
    net = nv.Network(WithoutBiases(), size=(18, 22))
    zero = torch.zeros(1, 3, 18, 22)
    found = nv.attribute(net, pictures, method="integrated_gradients", target=1, steps=4, baseline=zero)
    exact = nv.attribute(net, pictures, method="input_x_gradient", target=1)
    assert torch.allclose(found.values, exact.values, atol=1e-6)
    assert float(found.completeness.max()) < 1e-5


def test_the_path_is_walked_all_over_from_the_first_batch_on(net: nv.Network, pictures: Tensor) -> None:
    frames = each_step(net.trace(pictures), method="integrated_gradients", target=1, steps=32, batch=8)
    assert [frame.step for frame in frames] == [4, 8, 12, 16, 20, 24, 28, 32]
    last = frames[-1].values
    off = [float((frame.values - last).norm() / last.norm()) for frame in frames]
    assert off[-2] < off[3] < off[0]
    # The first four points by themselves, where the path begins, tell less.
    start, (places, weights) = baseline(net.trace(pictures), "black"), np.polynomial.legendre.leggauss(32)
    first = torch.zeros_like(pictures)
    for place, weight in zip(places[:4], weights[:4] / weights[:4].sum(), strict=True):
        x = (start + (place + 1) / 2 * (pictures - start)).requires_grad_()
        first += weight * torch.autograd.grad(net.module(x)[:, 1].sum(), x)[0]
    assert off[0] < 0.5 * float(((pictures - start) * first - last).norm() / last.norm())


def test_smooth_grad_is_the_mean_of_gradients_of_noisy_pictures(net: nv.Network, pictures: Tensor) -> None:
    found = nv.attribute(net, pictures, method="smooth_grad", of="gradient", target=2, samples=6, sigma=0.3, seed=4)
    sigma = 0.3 * (pictures.amax((1, 2, 3)) - pictures.amin((1, 2, 3))).view(2, 1, 1, 1)
    gradients = []
    for i in range(6):
        x = (pictures + sigma * torch.randn(3, 18, 22, generator=generator(4, i))).requires_grad_()
        gradients.append(torch.autograd.grad(net.module(x)[:, 2].sum(), x)[0])
    stack = torch.stack(gradients).double().numpy()
    assert np.allclose(found.values, stack.mean(0), atol=1e-6)
    assert np.allclose(found.error, stack.std(0, ddof=1) / 6**0.5, atol=1e-6)
    options = {"of": "gradient", "target": 2, "samples": 6, "sigma": 0.3, "seed": 4}
    squared = nv.attribute(net, pictures, method="smooth_grad_squared", **options)
    assert np.allclose(squared.values, (stack**2).mean(0), atol=1e-6)
    varied = nv.attribute(net, pictures, method="var_grad", **options)
    assert np.allclose(varied.values, stack.var(0, ddof=1), atol=1e-6)
    # Of saliency: the mean has its sign until it is reduced.
    saliency = nv.attribute(net, pictures, method="smooth_grad", **(options | {"of": "saliency"}))
    assert np.allclose(saliency.values, np.abs(stack.mean(0)).max(1, keepdims=True), atol=1e-6)
    largest = np.abs(stack.mean(0)).argmax(1)[:, None]
    expected = np.take_along_axis(stack.std(0, ddof=1) / 6**0.5, largest, 1)
    assert np.allclose(saliency.error, expected, atol=1e-6)


def test_of_a_quadratic_the_mean_and_the_variance_are_known(quadratic: nv.Network) -> None:
    x = torch.randn(1, 3, 6, 5, generator=torch.Generator().manual_seed(3))
    w, sigma = quadratic.module.weight[1].detach(), 0.2 * float(x.max() - x.min())
    options = {"of": "gradient", "target": 1, "samples": 4000, "sigma": 0.2, "batch": 500}
    mean = nv.attribute(quadratic, x, method="smooth_grad", **options)
    # g = 2 w (x + sigma n): normal, with mean 2 w x and standard deviation 2 w sigma.
    deviation = 2 * w.abs() * sigma
    off = ((mean.values[0] - 2 * w * x[0]) / (deviation / 4000**0.5)).abs()
    assert 0.5 < float(off.square().mean()) < 1.6
    assert torch.allclose(mean.error[0], deviation / 4000**0.5, rtol=0.06)
    varied = nv.attribute(quadratic, x, method="var_grad", **options)
    off = (varied.values[0] - deviation.square()) / varied.error[0]
    assert 0.5 < float(off.square().mean()) < 1.6
    squared = nv.attribute(quadratic, x, method="smooth_grad_squared", **options)
    off = (squared.values[0] - (2 * w * x[0]).square() - deviation.square()) / squared.error[0]
    assert 0.5 < float(off.square().mean()) < 1.6


@pytest.mark.parametrize("method", ["integrated_gradients", *NOISY])
def test_the_map_does_not_depend_on_the_batch(net: nv.Network, pictures: Tensor, method: str) -> None:
    trace = net.trace(pictures)
    option = "steps" if method == "integrated_gradients" else "samples"
    maps = [
        nv.attribute(trace, method=method, target=[0, 4], batch=batch, seed=1, **{option: 9}).values
        for batch in (1, 2, 7, 64)
    ]
    for other in maps[1:]:
        assert torch.allclose(maps[0], other, rtol=1e-4, atol=1e-7)
    alone = nv.attribute(net.trace(pictures[1:]), method=method, target=4, seed=1, **{option: 9}).values
    assert torch.allclose(maps[0][1:], alone, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("method", NOISY)
def test_another_seed_is_another_map_and_no_noise_is_the_gradient(net: nv.Network, pictures: Tensor, method) -> None:
    trace = net.trace(pictures)
    maps = [nv.attribute(trace, method=method, target=1, samples=5, seed=seed).values for seed in (0, 0, 1)]
    assert torch.equal(maps[0], maps[1])
    assert not torch.allclose(maps[0], maps[2])
    gradient = nv.attribute(trace, method="gradient", target=1).values
    still = nv.attribute(trace, method=method, target=1, samples=3, sigma=0, of="gradient").values
    expected = {"smooth_grad": gradient, "smooth_grad_squared": gradient.square(), "var_grad": 0 * gradient}[method]
    assert torch.allclose(still, expected, atol=1e-6)


@pytest.mark.parametrize("of", ["saliency", "gradient", "input_x_gradient", "guided_backprop", "deconvnet"])
@pytest.mark.parametrize("layer", ["input", "conv1"])
def test_any_gradient_method_is_smoothed_at_the_input_and_at_a_layer(of: str, layer: str) -> None:
    torch.manual_seed(3)
    net = nv.Network(Tiny(), size=16)
    trace = net.trace(torch.randn(1, 3, 16, 16))
    once = nv.attribute(trace, method=of, target=2, layer=layer)
    found = nv.attribute(trace, method="smooth_grad", of=of, target=2, layer=layer, samples=3, sigma=0)
    assert torch.allclose(found.values, once.values, atol=1e-6)
    assert found.rectifiers == once.rectifiers
    assert found.method == "smooth_grad"


def test_frames_come_batch_by_batch_and_the_error_falls(net: nv.Network, pictures: Tensor) -> None:
    frames = each_step(net, image=pictures[:1], method="smooth_grad", of="gradient", target=1, samples=64, batch=8)
    assert [(frame.step, frame.steps) for frame in frames] == [(n, 64) for n in range(8, 65, 8)]
    errors = [float(frame.error.mean()) for frame in frames]
    assert errors[-1] < 0.6 * errors[0]
    last = frames[-1].values
    assert all(float((b.values - last).norm()) < float((a.values - last).norm()) for a, b in pairwise(frames[::3]))
    alone = next(nv.attribute.stream(net, pictures[:1], method="smooth_grad", of="gradient", target=1, batch=1))
    assert alone.error.isnan().all()


def test_a_target_of_each_picture_is_asked_of_each_variant(net: nv.Network, pictures: Tensor) -> None:
    target = [nv.ClassScore(1) - 0.5 * nv.Channel("4", 2), nv.Channel("4", 3)]
    together = nv.attribute(net, pictures, method="smooth_grad", target=target, samples=3).values
    for i in range(2):
        alone = nv.attribute(net, pictures[i : i + 1], method="smooth_grad", target=target[i], samples=3).values
        assert torch.allclose(together[i : i + 1], alone, atol=1e-6)


def test_a_batch_that_does_not_fit_is_halved(net: nv.Network, pictures: Tensor, monkeypatch) -> None:
    expected = nv.attribute(net, pictures, method="smooth_grad", target=1, samples=8).values
    trace, again = net.trace(pictures), nv.Network.tracer

    def of_little_memory(self: nv.Network, *args: object, **options: object) -> object:
        look = again(self, *args, **options)

        def run(x: Tensor) -> nv.Trace:
            if len(x) > 4:
                raise torch.OutOfMemoryError("no memory")
            return look(x)

        return run

    monkeypatch.setattr(nv.Network, "tracer", of_little_memory)
    frames = each_step(trace, method="smooth_grad", target=1, samples=8, batch=16)
    assert [frame.step for frame in frames] == [2, 4, 6, 8]
    assert torch.allclose(frames[-1].values, expected, atol=1e-6)


def test_no_parameter_has_a_gradient_and_a_pass_ends_where_the_target_is(net, pictures, monkeypatch) -> None:
    seen = []

    def spy(trace: nv.Trace) -> Tensor:
        seen.append(trace)
        return trace["2"].mean((1, 2, 3))

    nv.attribute(net.trace(pictures), method="smooth_grad", target=spy, samples=2, batch=2)
    assert len(seen) == 2
    assert not any(p.requires_grad for trace in seen for p in trace.parameters.values())
    stopped = []
    target = nv.Channel("2", 1)
    again = nv.Network.tracer

    def watched(self: nv.Network, layers: object = (), **options: object) -> object:
        stopped.append((layers, options["stop"]))
        return again(self, layers, **options)

    monkeypatch.setattr(nv.Network, "tracer", watched)
    assert bool(nv.attribute(net, pictures, method="smooth_grad", target=target, samples=2).values.any())
    assert stopped == [({"2"}, True)]


class Viewing(nn.Module):
    """Only contiguous tensors have such a view."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4 * 6 * 6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).relu().view(len(x), -1))


@pytest.mark.parametrize("module", [Viewing(), Branching()])
def test_networks_of_odd_habits_are_smoothed_too(module: nn.Module) -> None:
    net, x = nv.Network(module, size=8), torch.randn(1, 3, 8, 8)
    found = nv.attribute(net, x, method="smooth_grad", of="gradient", target=1, samples=2, sigma=0)
    assert torch.allclose(found.values, nv.attribute(net, x, method="gradient", target=1).values, atol=1e-6)


def test_integrated_gradients_of_a_layer_are_refused(net: nv.Network, pictures: Tensor) -> None:
    with pytest.raises(nv.MethodNotApplicableError, match="explain the input, not '4'"):
        nv.attribute(net, pictures, method="integrated_gradients", layer="4")
    with pytest.raises(nv.UnknownOptionError):
        nv.attribute(net, pictures, method="smooth_grad", of="grad_cam")
