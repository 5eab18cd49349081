"""The data sets that come along: against scikit-learn's own arrays, and the photographs as Pillow crops them."""

from __future__ import annotations

import builtins
import pickle

import numpy as np
import pytest
import torch

import nbcnnviz as nv
from nbcnnviz.dataset import datasets, scan, source_of
from tests import toys

PHOTOGRAPHS = [*nv.samples("photographs"), *nv.samples("textures")]


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(toys.classic(), size=12)


def test_the_digits_are_those_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.datasets")
    digits, source = sklearn.load_digits(), source_of("digits")
    assert len(source) == len(digits.images) == 1797
    for index in (0, 7, 1796):
        picture, label = source[index]
        assert np.allclose(picture / 255 * 16, digits.images[index], atol=0.04)
        assert label == str(digits.target[index])


def test_patches_are_windows_of_the_photographs_within_their_borders() -> None:
    source = source_of("patches")
    keys = [source.key(i) for i in range(len(source))]
    assert len(set(keys)) == len(keys) > 300
    assert {source[i][1] for i in range(len(source))} == set(PHOTOGRAPHS)
    at = keys.index("coffee 128 px at 256, 128")
    expected = nv.load_image("coffee").crop((256, 128, 384, 256))
    assert np.array_equal(np.asarray(source[at][0]), np.asarray(expected))
    assert all(p.size in ((128, 128), (192, 192)) for p, _ in (source[i] for i in range(len(source))))


def test_a_name_is_enough_for_a_scan_with_labels(net) -> None:
    result = scan(net, "samples", layers="4")
    assert result.seen == len(PHOTOGRAPHS)
    assert result.classes("4", 0)[0][0] in PHOTOGRAPHS
    assert {p.key for p in result.patches("4", 0)} <= set(PHOTOGRAPHS)


@pytest.mark.parametrize("name", datasets())
def test_it_is_the_same_each_time_and_travels_to_a_worker(name) -> None:
    source = source_of(name)
    assert source.fingerprint() == source_of(name).fingerprint() == pickle.loads(pickle.dumps(source)).fingerprint()
    if name == "patches":
        assert len(pickle.dumps(source)) < 50_000  # without the photographs


def test_a_name_that_is_none_tells_those_there_are(net) -> None:
    with pytest.raises(nv.ImageError, match="patches, digits, samples"):
        scan(net, "digit")


def test_without_scikit_learn_the_extra_is_named(net, monkeypatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: object, **kwargs: object) -> object:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(nv.PackageMissingError, match=r"nbcnnviz\[dataset\]"):
        scan(net, "digits")
