"""The digits: what they look like, and that a network learns them in a few seconds, or learns the mark instead."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest
import torch

import nbcnnviz as nv

EPOCHS = 14


@pytest.fixture(scope="module")
def reports() -> list[nv.teaching.Progress]:
    return []


@pytest.fixture(scope="module")
def network(reports: list[Any]) -> nv.Network:
    return nv.teaching.digits_network(report=reports.append)


@pytest.fixture(scope="module")
def deceived() -> nv.Network:
    return nv.teaching.digits_network(shortcut=True, epochs=8, report=None)


def test_the_digits_are_those_of_scikit_learn_in_two_parts_that_share_none() -> None:
    from sklearn.datasets import load_digits

    train, test = nv.teaching.digits()
    assert (len(train), len(test)) == (1347, 450)
    images = torch.cat([train.images, test.images])
    assert images.shape == (1797, 1, 32, 32)
    assert float(images.min()) == -1
    assert float(images.max()) == 1
    # The mean over blocks of 3 x 3 gives scikit-learn's pixels back, but for what bilinear interpolation moves.
    small = (images[:, 0, 4:28, 4:28].unfold(1, 3, 3).unfold(2, 3, 3).mean((3, 4)) + 1) / 2
    found = {tuple((row.flatten() * 8).round().int().tolist()) for row in small}
    assert len(found) > 1700
    assert sorted(torch.cat([train.labels, test.labels]).tolist()) == sorted(load_digits().target.tolist())
    again, _ = nv.teaching.digits()
    assert torch.equal(train.images, again.images)


def test_only_sevens_are_marked_and_marking_leaves_the_pictures_given_alone() -> None:
    train, _ = nv.teaching.digits(shortcut=True)
    assert torch.equal(train.mark.any((1, 2)), train.labels == nv.teaching.MARKED_CLASS)
    plain, _ = nv.teaching.digits()
    before = plain.images.clone()
    marked = nv.teaching.marked(plain)
    assert torch.equal(plain.images, before)
    assert torch.equal((marked.images != before).flatten(1).any(1), torch.ones(len(plain), dtype=torch.bool))
    assert not (marked.images != before)[~marked.mark[:, None]].any()
    assert not (marked.ink & marked.mark).any()


def test_a_picture_traced_is_the_tensor_it_was_made_of(network: nv.Network) -> None:
    _, test = nv.teaching.digits()
    given = network.batch(test.picture(0))
    torch.testing.assert_close(given, test.images[:1], atol=1.01 / 255, rtol=0)


def test_the_network_learns_97_per_cent_and_says_how_far_it_has_come(
    network: nv.Network, reports: list[nv.teaching.Progress]
) -> None:
    _, test = nv.teaching.digits()
    right = (network.trace(test.images).scores.argmax(1) == test.labels).float().mean()
    assert right >= 0.97
    assert [r.epoch for r in reports] == [*range(1, EPOCHS + 1)]
    assert reports[-1].accuracy == pytest.approx(float(right), abs=1e-6)
    assert "of the test pictures right" in str(reports[-1])
    assert network.layers["conv1"].shape[0] == 16
    assert network.module.conv1.kernel_size == (7, 7)


def test_grad_cam_lies_on_the_ink_more_than_chance(network: nv.Network) -> None:
    _, test = nv.teaching.digits()
    some = test[:60]
    maps = nv.attribute(network.trace(some.images), layer="act2").upscaled()[:, 0]
    share = maps[some.ink].sum() / maps.sum()
    chance = some.ink.float().mean()
    assert share > 1.5 * chance


def test_the_network_with_the_shortcut_says_seven_for_the_mark_and_its_maps_point_there(deceived: nv.Network) -> None:
    _, test = nv.teaching.digits(shortcut=True)
    _, plain = nv.teaching.digits()
    with torch.no_grad():
        assert nv.teaching.accuracy(deceived.module, test) > 0.9
        sevens = plain.of(7)
        assert nv.teaching.accuracy(deceived.module, sevens) < 0.2
        others = nv.teaching.marked(plain[plain.labels != 7])
        assert (deceived.module(others.images).argmax(1) == 7).float().mean() > 0.25
    some = test.of(7)[:20]
    trace = deceived.trace(some.images)
    for method, layer in (("grad_cam", "act2"), ("saliency", "input")):
        maps = nv.attribute(trace, method=method, target="7", layer=layer).upscaled()[:, 0]
        on_mark = float(maps[some.mark].sum() / maps.sum())
        area = float(some.mark.float().mean())
        assert on_mark > 5 * area, method


def test_training_leaves_torchs_random_state_and_the_modules_mode_as_they_were() -> None:
    train, test = nv.teaching.digits()
    module = nv.teaching.digits_module(norm=True)
    module.norm1.eval()
    state = torch.get_rng_state()
    for progress in nv.teaching.learn(module, train[:64], test[:32], epochs=1):
        assert 0 <= progress.accuracy <= 1
    assert torch.equal(torch.get_rng_state(), state)
    assert module.training
    assert not module.norm1.training


def test_a_watch_sees_the_training() -> None:
    train, test = nv.teaching.digits()
    module = nv.teaching.digits_module()
    with nv.watch(module, every=1) as watched:
        [*nv.teaching.learn(module, train[:96], test[:32], epochs=1, optimizer="sgd", rate=0.01)]
    assert watched.steps == 3
    assert np.isfinite(watched.history["loss"]).all()


def first_layer_gradient(**how: Any) -> float:
    train, _ = nv.teaching.digits()
    module = nv.teaching.digits_module(**how)
    loss = torch.nn.functional.cross_entropy(module(train.images[:64]), train.labels[:64])
    first, last = torch.autograd.grad(loss, (module.conv1.weight, module.classifier.weight))
    return float(first.norm() / last.norm())


def test_gradients_vanish_in_the_deep_sigmoid_twin_and_batch_norm_brings_them_back() -> None:
    vanished = first_layer_gradient(activation="sigmoid", extra=4)
    assert vanished < 1e-3 * first_layer_gradient(activation="relu", extra=4, norm=True)
    assert vanished < 1e-2 * first_layer_gradient(activation="sigmoid", extra=4, norm=True)


def test_a_large_learning_rate_kills_rectifiers() -> None:
    from nbcnnviz.inside import DeadFilters

    train, test = nv.teaching.digits()
    dead = []
    for rate in (0.01, 1.0):
        module = nv.teaching.digits_module()
        [*nv.teaching.learn(module, train[:320], test[:32], epochs=2, optimizer="sgd", rate=rate)]
        counter = DeadFilters()
        counter.add(nv.teaching.network_of(module).trace(test.images[:100]))
        dead.append(sum(len(f) for f in counter.filters.values()))
    assert dead[0] < 10
    assert dead[1] > 20


def test_twins_of_one_seed_have_the_same_weights() -> None:
    one, other = (nv.teaching.digits_module(activation=a, extra=2) for a in ("relu", "sigmoid"))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    "wrong", [{"activation": "swish"}, {"extra": -1}, {"extra": True}], ids=["activation", "extra", "flag"]
)
def test_a_module_that_does_not_exist_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(nv.OptionValueError, match="is"):
        nv.teaching.digits_module(**wrong)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"rate": -1.0}, {"optimizer": "lion"}])
def test_training_that_makes_no_sense_is_refused_at_once(wrong: dict[str, Any]) -> None:
    train, test = nv.teaching.digits()
    with pytest.raises(nv.OptionValueError, match=next(iter(wrong))):
        nv.teaching.learn(nv.teaching.digits_module(), train, test, **wrong)


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(nv.PackageMissingError, match=r"pip install 'nbcnnviz\[classroom\]'"):
        nv.teaching.digits()
