"""Batches, seeds, means and baselines: what methods of many passes rely on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nbcnnviz as nv
from nbcnnviz.attribution.sampling import Mean, baseline, batch_size, batches, generator
from nbcnnviz.core.memory import free_memory
from nbcnnviz.core.preprocess import blurred
from tests import toys


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(toys.classic(), size=16)


def test_the_mean_and_its_error_are_those_of_all_samples_at_once() -> None:
    samples = torch.randn(37, 2, 3) * 4 + 100
    mean = Mean()
    for part in samples.split([1, 5, 30, 1]):
        mean.add(part)
    assert mean.count == 37
    assert np.allclose(mean.mean, samples.double().numpy().mean(0), rtol=1e-12)
    assert np.allclose(mean.variance, samples.double().numpy().var(0, ddof=1), rtol=1e-10)
    assert np.allclose(mean.error, samples.double().numpy().std(0, ddof=1) / 37**0.5, rtol=1e-10)


def test_of_one_sample_no_error_is_known() -> None:
    mean = Mean()
    mean.add(torch.ones(1, 4))
    assert mean.error.isnan().all()
    assert (mean.variance == 0).all()


def test_the_mean_does_not_depend_on_the_batches() -> None:
    samples = torch.randn(12, 5)
    means = []
    for size in (1, 5, 12):
        mean = Mean()
        for part in samples.split(size):
            mean.add(part)
        means.append(mean.mean)
    assert torch.equal(means[0], means[1])
    assert torch.equal(means[0], means[2])


def test_a_sample_draws_the_same_numbers_in_any_batch() -> None:
    first = torch.rand(3, generator=generator(7, 4))
    torch.rand(3, generator=generator(7, 3))
    assert torch.equal(torch.rand(3, generator=generator(7, 4)), first)
    assert not torch.equal(torch.rand(3, generator=generator(8, 4)), first)
    assert not torch.equal(torch.rand(3, generator=generator(7, 5)), first)


def test_batches_cover_every_sample_once() -> None:
    seen = [(done, result) for done, result in batches(10, 4, lambda a, b: list(range(a, b)))]
    assert seen == [(4, [0, 1, 2, 3]), (8, [4, 5, 6, 7]), (10, [8, 9])]


def test_a_batch_that_does_not_fit_is_halved_and_run_again() -> None:
    tried = []

    def run(begin: int, end: int) -> list[int]:
        tried.append(end - begin)
        if end - begin > 3:
            raise torch.OutOfMemoryError("no memory")
        return list(range(begin, end))

    found = [i for _, part in batches(10, 8, run) for i in part]
    assert found == list(range(10))
    assert tried == [8, 4, 2, 2, 2, 2, 2]


def test_one_sample_that_does_not_fit_is_an_error() -> None:
    def run(begin: int, end: int) -> None:
        raise torch.OutOfMemoryError("no memory")

    with pytest.raises(torch.OutOfMemoryError):
        list(batches(3, 2, run))


def test_the_batch_fits_into_the_free_memory(net, monkeypatch) -> None:
    assert 1 <= batch_size(net, graph=True) <= 8
    assert batch_size(net, graph=True, batch=33) == 33
    assert free_memory(torch.device("cpu")) > 10**7
    monkeypatch.setattr("nbcnnviz.attribution.sampling.free_memory", lambda device: 1)
    assert batch_size(net, graph=True) == 1
    for wrong in (0, 2.5, True, "3"):
        with pytest.raises(nv.UnknownOptionError, match="whole number"):
            batch_size(net, graph=True, batch=wrong)


def test_baselines_are_what_they_say_in_the_networks_units(net) -> None:
    image = Image.effect_noise((16, 16), 90).convert("RGB")
    trace = net.trace([image, image.rotate(90)])
    black = net.preprocess(Image.new("RGB", (16, 16), "black"))
    white = net.preprocess(Image.new("RGB", (16, 16), "white"))
    assert torch.allclose(baseline(trace, "black")[1], black, atol=1e-5)
    mean = baseline(trace, "mean")
    assert torch.allclose(mean[0, :, 3, 3], trace.input[0].mean((1, 2)), atol=1e-6)
    noise = baseline(trace, "noise", seed=3)
    assert (noise >= black - 1e-5).all()
    assert (noise <= white + 1e-5).all()
    assert torch.allclose((noise[0] - black).mean((1, 2)) / (white - black).mean((1, 2)), torch.tensor(0.5), atol=0.1)
    assert torch.equal(baseline(trace, "noise", seed=3), noise)
    assert torch.equal(baseline(trace, image), net.batch(image).expand(2, -1, -1, -1))
    own = torch.randn(2, 3, 16, 16)
    assert torch.equal(baseline(trace, own), own)
    assert torch.allclose(baseline(trace, "blur"), blurred(trace.input.detach()))


def test_a_blur_keeps_the_mean_and_takes_the_detail() -> None:
    x = torch.randn(2, 3, 40, 30)
    soft = blurred(x)
    assert soft.shape == x.shape
    assert soft.std() < 0.35 * x.std()
    flat = torch.full((1, 3, 20, 20), 0.7)
    assert torch.allclose(blurred(flat), flat, atol=1e-6)


def test_a_baseline_that_is_none_is_refused(net) -> None:
    trace = net.trace(torch.randn(1, 3, 16, 16))
    with pytest.raises(nv.UnknownOptionError, match="black, mean, blur, noise"):
        baseline(trace, "grey")
    with pytest.raises(nv.ImageError, match="one of its shape"):
        baseline(trace, torch.zeros(1, 3, 8, 8))


def test_black_is_not_guessed_where_nothing_tells_it() -> None:
    module = nn.Sequential(nn.Conv2d(5, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    trace = nv.Network(module, size=8).trace(torch.randn(1, 5, 8, 8))
    with pytest.raises(nv.ImageError, match="black"):
        baseline(trace, "black")
    assert baseline(trace, "mean").shape == (1, 5, 8, 8)
