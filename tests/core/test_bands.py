"""Networks of other than one or three channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz.core.bands import Bands
from nbcnnviz.session.selection import Selection
from tests import toys

SIZE = (12, 10)


@pytest.fixture
def network() -> nv.Network:
    return nv.Network(toys.classic(5), size=SIZE, bands=(3, 0, 1))


@pytest.fixture
def x() -> Tensor:
    return torch.randn(1, 5, *SIZE, generator=torch.Generator().manual_seed(1))


def test_tensors_and_arrays_are_inputs_as_they_are(network: nv.Network, x: Tensor) -> None:
    for given in (
        x,
        x[0],
        [x[0]],
        [x],
        x.numpy(),
        x[0].numpy(),
        x.permute(0, 2, 3, 1).numpy(),
        x[0].permute(1, 2, 0).numpy(),
        x[0].permute(1, 2, 0),
        x.double().numpy(),
        network.picture(x),
    ):
        assert torch.equal(network.batch(given), x)
    assert network.batch([x[0], x[0]]).shape == (2, 5, *SIZE)
    counts = np.arange(5 * 12 * 10, dtype=np.uint16).reshape(12, 10, 5)
    assert torch.equal(network.batch(counts)[0], torch.from_numpy(counts.astype(np.float32)).permute(2, 0, 1))


def test_where_both_axes_fit_an_array_has_its_channels_last() -> None:
    network = nv.Network(toys.classic(4), size=4)
    values = torch.randn(4, 4, 4)
    assert torch.equal(network.batch(values)[0], values)
    assert torch.equal(network.batch(values.numpy())[0], values.permute(2, 0, 1))


def test_four_channels_are_no_picture_with_transparency() -> None:
    network = nv.Network(toys.classic(4), size=SIZE)
    depth = np.random.default_rng(0).normal(size=(*SIZE, 4)).astype(np.float32)
    assert torch.equal(network.batch(depth)[0], torch.from_numpy(depth).permute(2, 0, 1))


def test_the_bands_chosen_are_shown_as_red_green_and_blue(network: nv.Network, x: Tensor) -> None:
    chosen = x[0, [3, 0, 1]]
    expected = (255 * (chosen - chosen.min()) / (chosen.max() - chosen.min())).round().byte().permute(1, 2, 0).numpy()
    (picture,) = network.trace(x).pictures
    assert np.array_equal(np.asarray(picture), expected)
    assert nv.attribute(network, x, target=1).overlay(opacity=0).tobytes() == picture.tobytes()
    grey = np.asarray(nv.Network(toys.classic(5), size=SIZE, bands=2).trace(x).pictures[0])
    assert (grey[..., 0] == grey[..., 2]).all()
    assert grey[..., 0].argmax() == int(x[0, 2].argmax())


def test_of_several_pictures_each_is_stretched_by_itself(network: nv.Network, x: Tensor) -> None:
    one, two = network.trace(torch.cat([x, 100 * x])).pictures
    assert np.array_equal(np.asarray(one), np.asarray(two))


@pytest.mark.parametrize("bands", [(0, 1), (0, 1, 5), (0, 1, -1), "rgb", 7, (0.0, 1.0, 2.0), ()])
def test_bands_that_there_are_not_are_an_error(bands) -> None:
    with pytest.raises(nv.NetworkError, match="from 0 to 4"):
        nv.Network(toys.classic(5), size=SIZE, bands=bands)


def test_a_preprocess_of_arrays_is_applied_to_them(x: Tensor) -> None:
    def halved(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array[:12, :10].astype(np.float32)).permute(2, 0, 1) / 2

    network = nv.Network(toys.classic(5), halved)
    assert network.input_shape == (5, *SIZE)
    array = np.random.default_rng(0).normal(size=(20, 20, 5))
    assert torch.equal(network.batch(array)[0], halved(array))
    assert torch.equal(network.batch(x), x), "a batch is preprocessed already"
    with pytest.raises(nv.ImageError, match="preprocess failed on an array"):
        network.batch(np.full((20, 20, 5), "a"))
    with pytest.raises(nv.ImageError, match=r"it must return \(5, H, W\)"):
        network.batch(np.zeros((20, 20, 6)))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (torch.zeros(6, 12, 10), "no axis of 5 channels"),
        (np.zeros((12, 10, 3)), "no axis of 5 channels"),
        (np.full((12, 10, 5), "a"), "holds <U1 values"),
        ("chelsea", "this network takes 5: give a preprocessed"),
        (torch.full((5, 12, 10), torch.nan), "NaN"),
        ([torch.zeros(2, 5, 12, 10)], "one picture, not a batch of 2"),
    ],
)
def test_what_has_other_channels_is_an_error(network: nv.Network, given, told: str) -> None:
    with pytest.raises(nv.ImageError, match=told):
        network.batch(given)


def test_a_selection_takes_what_its_network_takes(network: nv.Network, x: Tensor) -> None:
    selection = Selection(network, x)
    assert isinstance(selection.image, Bands)
    assert selection.image.size == (10, 12)
    assert torch.equal(network.batch(selection.picture), x)
    again = selection.image
    selection.image = x.clone()
    assert selection.image == again
    other = x.clone()
    other[0, 4] += 1  # a band that is not shown
    selection.image = other
    assert torch.equal(network.batch(selection.picture), other)
    selection.crop = (0, 0, 0.5, 0.5)
    cropped = network.batch(selection.picture)
    part = nn.functional.interpolate(other[..., :6, :5], SIZE, mode="bilinear", antialias=True)
    torch.testing.assert_close(cropped, part)
    with pytest.raises(nv.ImageError, match="not one picture"):
        selection.image = torch.zeros(2, 5, *SIZE)


def test_a_selection_takes_a_preprocessed_input_of_three_channels_too() -> None:
    network = nv.Network(toys.classic(), size=SIZE)
    x = network.batch("chelsea")
    selection = Selection(network, x)
    assert torch.equal(network.batch(selection.picture), x)
    assert np.array_equal(np.asarray(selection.image), np.asarray(network.trace(x).pictures[0]))
