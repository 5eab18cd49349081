from __future__ import annotations

import colorsys
import re

import pytest

from nbcnnviz.render.colours import LINES, depth_colours, palette


@pytest.mark.parametrize("count", [1, 2, len(LINES), len(LINES) + 1, 40])
def test_as_many_lines_have_colours_of_their_own(count: int) -> None:
    for made in (palette(count), depth_colours(count)):
        assert len(set(made)) == len(made) == count
        assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in made)


def test_depth_goes_from_blue_to_orange() -> None:
    hues = [
        colorsys.rgb_to_hls(*(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)))[0]
        for colour in (depth_colours(30)[0], depth_colours(30)[-1])
    ]
    assert hues == pytest.approx([0.6, 0.08], abs=0.01)
