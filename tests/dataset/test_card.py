"""The unit card: its numbers are those of their own calls, its page holds everything, and what it lacks is said."""

from __future__ import annotations

import base64
import html
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nbcnnviz as nv
from nbcnnviz.dataset import scan, seen_patch, source_of
from nbcnnviz.inside import project, reads, writes
from tests import toys


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(toys.classic(), size=24, classes=["a <b>", "c", "d", "e", "f"])


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [Image.effect_noise((30, 24), 20 + 9 * i).convert("RGB") for i in range(12)]


@pytest.fixture(scope="module")
def top(net, pictures) -> nv.TopPatches:
    return scan(net, pictures, layers=["0", "4", "5"], k=4, labels=["x", "y"] * 6)


@pytest.fixture(scope="module")
def card(net, pictures, top) -> nv.UnitCard:
    return nv.unit_card(net, "5", 2, top=top, pictures=source_of(pictures, ["x", "y"] * 6), steps=2)


def test_its_numbers_are_those_of_their_own_calls(net, pictures, top, card) -> None:
    first = top.patches("5", 2)[0]
    trace = net.trace(pictures[first.picture])
    assert card.picture.tobytes() == trace.pictures[0].tobytes()
    assert torch.allclose(card.maps, trace["5"][0, 2])
    assert float(card.maps.max()) == pytest.approx(first.value, abs=1e-6)
    assert torch.allclose(card.projection.values, project(trace, "5", 2).values)
    assert torch.allclose(card.row, net.module[4].weight[2])
    for links, made in ((card.reads, reads(trace, "5", 2)), (card.writes, writes(trace, "5", 2))):
        assert links.layer == made.layer
        assert torch.allclose(links.contributions, made.contributions)
    assert card.fires == top.fires("5", 2)
    assert card.labels == tuple(top.classes("5", 2))
    assert not card.missing
    assert card.synthesised.size == (24, 24)


def test_gradient_x_activation_of_a_last_map_is_the_part_of_the_score_that_comes_from_it(net, card) -> None:
    weight = net.module[8].weight[:, 2].detach()
    expected = {net.classes[i]: float(weight[i] * card.maps.mean()) for i in range(5)}
    assert dict(card.classes) == pytest.approx(expected, abs=1e-5)
    assert [name for name, _ in card.classes] == sorted(expected, key=expected.__getitem__, reverse=True)


def test_a_patch_is_the_window_of_the_picture_and_of_the_projection(net, pictures, top, card) -> None:
    assert [seen.patch for seen in card.patches] == top.patches("5", 2)
    for seen in card.patches:
        trace = net.trace(pictures[seen.patch.picture])
        t, left, b, r = seen.patch.box
        assert np.array_equal(seen.pixels, np.asarray(trace.pictures[0])[t:b, left:r])
        values = project(trace, "5", 2, place=(seen.patch.row, seen.patch.column)).values
        assert torch.allclose(seen.projection, values[:, t:b, left:r])
        assert float(values.abs().sum()) == pytest.approx(float(seen.projection.abs().sum()))  # nothing lies outside
        assert seen.label == ["x", "y"][seen.patch.picture % 2]
    assert seen_patch(net, source_of(pictures), "5", 2, top.patches("5", 2)[0], projected=False).projection is None


def test_zero_is_grey_and_the_largest_magnitude_is_the_end_of_the_scale(card) -> None:
    seen = next(seen for seen in card.patches if seen.projection.abs().max() > 0)
    pixels, values = seen.projected_pixels.astype(int), seen.projection.numpy().transpose(1, 2, 0)
    at = np.unravel_index(np.abs(values).argmax(), values.shape)
    assert pixels[at] == (255 if values[at] > 0 else 0)
    assert set(pixels[values == 0]) <= {127, 128}


def test_the_page_is_one_file_with_every_picture_in_it(card, tmp_path) -> None:
    card.save(tmp_path / "card.html")
    page = (tmp_path / "card.html").read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(?!data:)', page)
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(found) >= 2 * len(card.patches) + 4
    for data in found:
        Image.open(io.BytesIO(base64.b64decode(data))).verify()
    assert "a &lt;b&gt;" in page
    assert "a <b>" not in page
    for heading in (
        "What fires it most",
        "On this picture",
        "Synthesised",
        "Weights",
        "Reads from",
        "Writes to",
        "Classes",
    ):
        assert f"<h2>{heading}</h2>" in page
    with pytest.raises(nv.ExportError, match=r"card\.html"):
        card.save(tmp_path / "nowhere" / "card.html")


def test_what_is_not_there_says_why(net, pictures, top) -> None:
    trace = net.trace(pictures[0])
    card = nv.unit_card(trace, "5", 1, steps=0)
    assert card.patches == ()
    assert card.fires is None
    assert card.synthesised is None
    assert "top=" in card.missing["patches"]
    assert "pictures=" in nv.unit_card(trace, "5", 1, top=top, steps=0).missing["patches"]
    last = nv.unit_card(trace, "8", 1, steps=0)
    assert last.writes is None
    assert last.missing["writes"] in html.unescape(last.html())
    with pytest.raises(nv.ArgumentTypeError, match="trace"):
        nv.unit_card(net, "5", 1)
    with pytest.raises(nv.FilterRangeError):
        nv.unit_card(trace, "5", 8)
    with pytest.raises(nv.UnknownLayerError):
        nv.unit_card(trace, "none", 0)


def test_a_scan_of_something_else_is_refused(net, pictures, top) -> None:
    torch.manual_seed(3)
    other = nv.Network(toys.classic(), size=24)
    with pytest.raises(nv.ScanError, match="another network"):
        nv.unit_card(other.trace(pictures[0]), "5", 1, top=top)
    with pytest.raises(nv.ScanError, match="other pictures"):
        nv.unit_card(net, "5", 1, top=top, pictures=pictures[1:])


def test_a_picture_that_is_gone_is_left_out_and_said(net, tmp_path) -> None:
    for i in range(3):
        Image.effect_noise((24, 24), 50 + i).convert("RGB").save(tmp_path / f"{i}.png")
    top, source = scan(net, tmp_path, layers="5", k=3), source_of(tmp_path)
    key = top.patches("5", 2)[1].key
    (tmp_path / key).write_bytes(bytes((tmp_path / key).stat().st_size))  # as long as it was
    card = nv.unit_card(net.trace("chelsea"), "5", 2, top=top, pictures=source, steps=0)
    assert len(card.patches) == 2
    assert key in card.missing["patches"]


def test_one_channel_and_a_first_layer_are_drawn_too(tmp_path) -> None:
    torch.manual_seed(0)
    net = nv.Network(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), size=12)
    card = nv.unit_card(net.trace(torch.rand(1, 1, 12, 12)), "0", 3, steps=0)
    assert card.reads.layer == "input"
    assert "from 0" in card.html()
    rgb = nv.Network(toys.classic(), size=12)
    assert "its kernel" in nv.unit_card(rgb.trace("chelsea"), "0", 3, steps=0).html()
