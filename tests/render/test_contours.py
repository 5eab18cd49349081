"""Contour lines against the exact distances to lines that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from nbcnnviz.render import overlay
from nbcnnviz.render.contours import inked, levels


def lines(places: np.ndarray, signed: bool = False) -> np.ndarray:
    """Where the lines of a map are drawn on grey: 0 to 255."""
    return inked(np.full((*places.shape, 3), 100.0), places, signed)[..., 0]


@pytest.mark.parametrize(("across", "down"), [(3.0, 0.0), (0.0, -2.0), (2.0, 1.0)])
def test_a_straight_line_is_white_a_pixel_wide_within_black(across: float, down: float) -> None:
    y, x = np.mgrid[:40, :40]
    places = 127.5 + across * (x - 20) + down * (y - 20)
    drawn = lines(places)
    nearest = np.min([np.abs(places - level) for level in levels(False)], axis=0) / np.hypot(across, down)
    assert (drawn[nearest < 1e-9] == 255).all()
    assert (drawn[(nearest > 0.95) & (nearest < 1.2)] < 70).all()
    assert (drawn[nearest >= 1.7] == 100).all()
    halfway = (nearest > 0.4) & (nearest < 0.6)
    assert ((drawn[halfway] > 100) & (drawn[halfway] < 200)).all()


def test_a_signed_map_has_lines_on_both_sides_of_zero_and_none_at_zero() -> None:
    places = np.tile(np.linspace(0, 255, 511), (3, 1))
    white = places[0][lines(places, signed=True)[0] > 130]
    shares = white / 127.5 - 1
    assert sorted({round(4 * float(s)) for s in shares}) == [-3, -2, -1, 1, 2, 3]
    assert np.abs(4 * shares - np.round(4 * shares)).max() < 0.02


def test_flat_and_tiny_maps_have_no_line() -> None:
    for shape in ((5, 5), (1, 1), (1, 7)):
        assert (lines(np.full(shape, 127.5)) == 100).all()


def test_an_overlay_has_contours_right_of_its_split_and_the_bare_picture_left_of_it() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))
    values = torch.arange(5.0)[None, :, None].expand(1, 5, 6)
    plain, drawn = (np.asarray(overlay(picture, values, contours=c)) for c in (False, True))
    both = np.asarray(overlay(picture, values, contours=True, split=0.25))
    assert (both[:, :20] == np.asarray(picture)[:, :20]).all()
    assert (both[:, 20:] == drawn[:, 20:]).all()
    rows = (plain != drawn).any(2).mean(1)
    assert ((rows == 0) | (rows > 0.9)).all()  # the map rises from top to bottom: lines run over the whole width
    assert 9 <= (rows > 0.9).sum() <= 12
    assert (np.asarray(overlay(picture, values, split=1.0)) == np.asarray(picture)).all()
