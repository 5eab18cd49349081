"""Numbers to pixels, against numpy written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nbcnnviz as nv
from nbcnnviz.render import (
    COLOURS,
    Scale,
    coloured,
    default_for,
    flat,
    heatmap,
    lookup_table,
    overlay,
    to_bytes,
    upscaled,
)
from tests import toys


def bilinear(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear interpolation between pixel centres, one place at a time."""
    height, width = values.shape
    out = np.zeros(size)
    for i in range(size[0]):
        for j in range(size[1]):
            y = min(max((i + 0.5) * height / size[0] - 0.5, 0), height - 1)
            x = min(max((j + 0.5) * width / size[1] - 0.5, 0), width - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            dy, dx = y - top, x - left
            out[i, j] = (1 - dy) * ((1 - dx) * values[top, left] + dx * values[top, right]) + dy * (
                (1 - dx) * values[bottom, left] + dx * values[bottom, right]
            )
    return out


@pytest.mark.parametrize(
    ("shape", "size"), [((7, 7), (32, 32)), ((3, 5), (20, 31)), ((1, 1), (6, 6)), ((4, 6), (4, 7))]
)
def test_maps_are_scaled_up_between_pixel_centres(shape, size) -> None:
    values = torch.randn(2, 3, *shape)
    found = upscaled(values, size)
    assert found.shape == (2, 3, *size)
    for n in range(2):
        for c in range(3):
            np.testing.assert_allclose(found[n, c], bilinear(values[n, c].numpy(), size), atol=1e-6)


def test_a_map_of_the_right_size_is_left_alone() -> None:
    values = torch.randn(1, 2, 5, 6)
    assert upscaled(values, (5, 6)) is values


def test_heat_maps_without_negatives_reach_from_zero_to_one() -> None:
    values = torch.rand(3, 1, 6, 8)
    found = heatmap(values, (6, 8))
    assert found.dtype == torch.float32
    for n in range(3):
        assert found[n].max() == 1
        np.testing.assert_allclose(found[n], values[n, 0] / values[n].max(), rtol=1e-6)


def test_signed_heat_maps_keep_zero_at_zero() -> None:
    values = torch.tensor([[[[-4.0, 0, 2]]], [[[1.0, 0, -0.5]]]])
    assert heatmap(values, (1, 3)).tolist() == [[[-1.0, 0.0, 0.5]], [[1.0, 0.0, -0.5]]]


def test_channels_are_summed_not_averaged_or_maximised() -> None:
    values = torch.tensor([[[[1.0, -3.0]], [[1.0, 1.0]], [[1.0, 1.0]]]])
    assert flat(values).tolist() == [[[3.0, -1.0]]]
    assert heatmap(values, (1, 2))[0].tolist() == [[1.0, pytest.approx(-1 / 3)]]


def test_a_map_of_zeros_stays_zero() -> None:
    assert heatmap(torch.zeros(2, 3, 4, 4), (8, 8)).abs().max() == 0
    assert not heatmap(torch.zeros(1, 1, 4, 4), (8, 8)).isnan().any()


def test_scales_end_at_the_largest_magnitude() -> None:
    assert Scale.of(torch.tensor([0.0, 1, 4])) == Scale(0, 4)
    assert Scale.of(torch.tensor([-6.0, 1, 4])) == Scale(-6, 6)
    assert Scale.of(torch.tensor([-1.0, 4])) == Scale(-4, 4)
    assert Scale.of(torch.zeros(3)) == Scale(0, 0)
    assert Scale.of(torch.tensor([torch.nan, torch.inf, 2.0])) == Scale(0, 2)
    assert not Scale(0, 4).signed
    assert Scale(-4, 4).signed
    hundred = torch.arange(101.0)
    assert Scale.of(hundred, 0.9) == Scale(0, 90, cut=True)
    assert Scale.of(torch.tensor([0.0] * 99 + [5.0]), 0.9) == Scale(0, 5), "but for a few places it is zero"


def test_bytes_reach_from_end_to_end_of_the_scale() -> None:
    assert to_bytes(torch.tensor([[0.0, 1, 2, 4]]), Scale(0, 4)).tolist() == [[0, 64, 128, 255]]
    signed = to_bytes(torch.tensor([[-4.0, 0, 4]]), Scale(-4, 4)).tolist()[0]
    assert signed[0] == 0
    assert signed[1] in (127, 128)
    assert signed[2] == 255
    beyond = torch.tensor([[-9.0, 9, torch.inf, -torch.inf, torch.nan]])
    assert to_bytes(beyond, Scale(0, 4)).tolist() == [[0, 255, 255, 0, 0]]
    assert to_bytes(torch.ones(2, 3), Scale(0, 0)).tolist() == [[0] * 3] * 2
    assert to_bytes(torch.ones(2, 3), Scale(0, 4)).dtype == np.uint8


@pytest.mark.parametrize("name", COLOURS)
def test_every_colour_map_is_a_table_of_256_colours(name: str) -> None:
    table = lookup_table(name)
    assert table.shape == (256, 3)
    assert table.dtype == np.uint8
    assert len(np.unique(table, axis=0)) > 100
    assert not table.flags.writeable


def test_the_diverging_default_is_pale_in_the_middle_and_the_other_starts_dark() -> None:
    diverging, sequential = lookup_table(default_for(True)), lookup_table(default_for(False))
    assert diverging[127:129].min() > 230
    assert diverging[0, 2] > diverging[0, 0], "blue for negative"
    assert diverging[-1, 0] > diverging[-1, 2], "red for positive"
    assert sequential[0].max() < 10
    assert (np.diff(sequential.astype(float) @ [0.3, 0.6, 0.1]) >= -1).all(), "brighter is more"


def test_colours_are_looked_up_by_value() -> None:
    found = coloured(torch.tensor([[0.0, 4.0]]), Scale(0, 4), "viridis")
    assert found.tolist() == [lookup_table("viridis")[[0, 255]].tolist()]
    assert coloured(torch.tensor([[4.0]]), Scale(-4, 4)).tolist() == [[lookup_table("RdBu_r")[255].tolist()]]


@pytest.fixture
def picture() -> Image.Image:
    return nv.load_image("coffee").resize((24, 16))


def test_an_overlay_leaves_the_picture_unchanged_where_the_map_is_zero(picture: Image.Image) -> None:
    values = torch.zeros(1, 16, 24)
    values[0, 4:8, 5:9] = torch.linspace(0.5, 1, 4)
    found = np.asarray(overlay(picture, values, opacity=0.7)).astype(int)
    pixels = np.asarray(picture).astype(int)
    zero = values[0].numpy() == 0
    assert (found[zero] == pixels[zero]).all()
    assert (found[~zero] != pixels[~zero]).any(1).all()
    strongest = lookup_table("inferno")[255] * 0.7 + pixels[4, 8] * 0.3
    assert np.abs(found[4, 8] - strongest).max() <= 1


def test_an_overlay_fades_with_the_magnitude_on_both_sides_of_zero(picture: Image.Image) -> None:
    values = torch.zeros(1, 16, 24)
    values[0, :, :8], values[0, :, 8:16] = -2, 1
    found = np.asarray(overlay(picture, values, opacity=1)).astype(float)
    pixels = np.asarray(picture).astype(float)
    table = lookup_table("RdBu_r").astype(float)
    assert np.abs(found[:, :8] - table[0]).max() <= 1
    assert np.abs(found[:, 8:16] - (table[round(0.75 * 255)] + pixels[:, 8:16]) / 2).max() <= 1
    assert (found[:, 16:] == pixels[:, 16:]).all()


def test_an_overlay_of_nothing_is_a_copy_of_the_picture(picture: Image.Image) -> None:
    found = overlay(picture, torch.zeros(1, 4, 4))
    assert found is not picture
    assert found.tobytes() == picture.tobytes()
    assert overlay(picture, torch.rand(1, 4, 4), opacity=0).tobytes() == picture.tobytes()


@pytest.fixture
def result() -> nv.Attribution:
    network = nv.Network(toys.classic(), size=(16, 24), classes=["ant", "bee", "cat", "dog", "eel"])
    return nv.attribute(network.trace(["coffee", "chelsea"]), method="gradient", target="cat")


def test_a_result_knows_its_heat_map_caption_and_sign(result: nv.Attribution) -> None:
    assert result.heatmap.shape == (2, 16, 24)
    assert result.heatmap.dtype == np.float32
    assert np.abs(result.heatmap).max((1, 2)).tolist() == [1, 1]
    assert result.signed
    assert result.caption == "cat (2)"
    assert "gradient of cat (2): 2 x 3 x 16 x 24, step 1 of 1" in repr(result)
    assert torch.equal(result[1], result.values[1])
    one = nv.attribute(result.trace.network, "coffee", method="saliency", target=2)
    assert one.heatmap.shape == (16, 24)
    assert not one.signed
    cam = nv.attribute(result.trace, method="grad_cam", target=2, layer="4")
    assert cam.values.shape == (2, 1, 8, 12)
    assert cam.upscaled().shape == (2, 1, 16, 24)


def test_a_result_is_laid_over_the_picture_it_explains(result: nv.Attribution) -> None:
    for i in (0, 1):
        expected = overlay(result.trace.pictures[i], result.values[i], opacity=0.3, colours="PuOr_r")
        assert result.overlay(i, opacity=0.3, colours="PuOr_r").tobytes() == expected.tobytes()
    assert result.overlay(0).tobytes() != result.overlay(1).tobytes()


def test_a_result_is_saved_as_a_picture_or_as_numbers(result: nv.Attribution, tmp_path: Path) -> None:
    result.save(tmp_path / "map.png", 1)
    assert Image.open(tmp_path / "map.png").convert("RGB").tobytes() == result.overlay(1).tobytes()
    result.save(str(tmp_path / "map.npy"))
    assert (np.load(tmp_path / "map.npy") == result.values[0].numpy()).all()
    result.save(tmp_path / "map.jpg")
    assert Image.open(tmp_path / "map.jpg").size == (24, 16)


def test_a_result_shows_itself_in_a_notebook(result: nv.Attribution) -> None:
    assert result._repr_png_().startswith(b"\x89PNG")


def test_places_weaker_than_the_threshold_show_the_picture() -> None:
    picture = Image.new("RGB", (4, 1), (10, 20, 30))
    values = torch.tensor([[[0.1, 0.4, -0.6, 1.0]]])
    kept = np.asarray(overlay(picture, values, opacity=1.0, threshold=0.5))[0]
    whole = np.asarray(overlay(picture, values, opacity=1.0))[0]
    assert (kept[:2] == (10, 20, 30)).all()
    assert (kept[2:] == whole[2:]).all()
    assert (whole[1] != (10, 20, 30)).any()


def test_what_is_no_number_is_in_the_middle_of_a_signed_scale() -> None:
    assert to_bytes(torch.tensor([[torch.nan, -torch.inf, torch.inf]]), Scale(-1, 1)).tolist() == [[128, 0, 255]]
