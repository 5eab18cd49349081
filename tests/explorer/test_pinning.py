"""A map that stays, to be compared with others."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr

import nbcnnviz as nv
from nbcnnviz.explorer.panels import ExplainPanel
from nbcnnviz.explorer.panels.explain import Pinned
from nbcnnviz.render import Scale, flat, overlay, to_bytes
from nbcnnviz.render.encoding import photograph

PICTURE = Image.new("RGB", (24, 20))


def pinned(values: torch.Tensor) -> Pinned:
    return Pinned(PICTURE, values, "a map", "inferno")


@pytest.fixture
def ex(explore, toy):
    ex = explore(toy, "chelsea", target=1, method="saliency", panels=["explain"])
    ex.wait(60)
    return ex


@pytest.fixture
def panel(ex) -> ExplainPanel:
    return ex.panels["explain"]


def test_what_is_pinned_stays_as_it_was_whatever_comes(ex, panel: ExplainPanel) -> None:
    before, caption = ex.result, panel.widget.caption
    panel.pin()
    map_ = flat(before.values)[0]
    for _ in range(2):
        shown = panel.widget.pinned
        assert shown["values"] == to_bytes(map_, Scale.to_show(map_)).tobytes()
        assert (shown["shape"], shown["caption"]) == (list(map_.shape), caption)
        assert shown["picture"] == photograph(before.trace.pictures[0])
        assert panel.pinned.values.equal(before.values[0].detach())
        ex.selection.image = "coffee"
        ex.selection.target = 3
        ex.wait(60)
    assert panel.widget.caption != caption


def test_it_is_compared_with_what_was_pinned_until_that_is_let_go(ex, panel: ExplainPanel) -> None:
    panel.widget._handle_custom_msg({"type": "pin"}, [])
    assert panel.widget.compare_with == "pinned"
    assert panel.widget.likeness.endswith(": 1.00")
    ex.selection.target = 3
    ex.wait(60)
    assert panel.widget.likeness.endswith(f": {panel.pinned.likeness(ex.result.values[0]):.2f}")
    panel.widget._handle_custom_msg({"type": "unpin"}, [])
    assert (panel.widget.pinned, panel.widget.likeness, panel.widget.compare_with) == ({}, "", "picture")
    assert panel.pinned is None


def test_likeness_is_the_rank_correlation_at_the_finer_size() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(2, 6, 5, generator=generator) for _ in range(2))
    expected = spearmanr(first.sum(0).flatten(), second.sum(0).flatten()).statistic
    assert pinned(first).likeness(second) == pytest.approx(expected)
    assert pinned(first).likeness(3 * first + 1) == pytest.approx(1)
    assert pinned(first).likeness(-first) == pytest.approx(-1)
    coarse = torch.tensor([[[0.0, 1], [2, 3]]])
    fine = torch.nn.functional.interpolate(coarse[None], (8, 8), mode="bilinear")[0]
    assert pinned(coarse).likeness(fine) == pytest.approx(1)
    assert pinned(fine).likeness(coarse) == pytest.approx(1)


def test_a_flat_map_is_like_nothing_and_says_nothing(ex, panel: ExplainPanel) -> None:
    assert np.isnan(pinned(torch.ones(1, 3, 3)).likeness(torch.randn(1, 3, 3)))
    panel.pin()
    panel.pinned = pinned(torch.ones(1, 3, 3))
    panel.show(ex.result)
    assert panel.widget.likeness == ""


def test_a_split_with_the_pinned_map_is_saved_as_it_is_seen(ex, panel: ExplainPanel, tmp_path: Path) -> None:
    first = ex.result.overlay(opacity=0.5, colours=panel.widget.colours, contours=True)
    panel.pin()
    ex.selection.image = "coffee"
    ex.wait(60)
    panel.widget.set_trait("compare", "split")
    panel.widget.opacity, panel.widget.split, panel.widget.contours = 0.5, 0.5, True
    second = ex.result.overlay(opacity=0.5, colours=panel.widget.colours, contours=True)
    ex.save(tmp_path / "both.png")
    saved, half = np.asarray(Image.open(tmp_path / "both.png")), first.width // 2
    assert (saved[:, :half] == np.asarray(first)[:, :half]).all()
    assert (saved[:, half:] == np.asarray(second)[:, half:]).all()
    panel.widget.compare_with = "picture"
    ex.save(tmp_path / "alone.png")
    left = np.asarray(Image.open(tmp_path / "alone.png"))[:, :half]
    assert (left == np.asarray(ex.result.trace.pictures[0])[:, :half]).all()
    ex.save(tmp_path / "both.npz")
    arrays = np.load(tmp_path / "both.npz")
    assert (arrays["pinned"] == panel.pinned.values.numpy()).all()
    assert (arrays["values"] != arrays["pinned"]).any()


@pytest.mark.parametrize("signed", [False, True], ids=["both unsigned", "one signed"])
def test_what_is_split_has_the_colours_and_the_size_that_the_browser_gives_it(ex, panel, tmp_path, signed) -> None:
    frame = panel.widget
    panel.pin()
    was, pinned = frame.colours, panel.pinned
    if signed:
        ex.selection.method = "gradient"
        ex.wait(60)
    frame.colours = "PuOr_r" if signed else "viridis"
    frame.set_trait("compare", "split")
    frame.split = 1.0
    ex.save(tmp_path / "all.png")
    look = {"opacity": frame.opacity, "threshold": frame.threshold, "colours": was if signed else "viridis"}
    assert (
        np.asarray(Image.open(tmp_path / "all.png")) == np.asarray(overlay(pinned.picture, pinned.values, **look))
    ).all()


def test_without_a_map_there_is_nothing_to_pin(toy: nv.Network, panel: ExplainPanel) -> None:
    panel.result = None
    with pytest.raises(nv.NbcnnvizError, match="no map to pin"):
        panel.pin()


def test_what_is_pinned_holds_no_trace(ex, panel: ExplainPanel) -> None:
    panel.pin()
    gone = weakref.ref(ex.result.trace)
    ex.selection.image = "coffee"
    ex.wait(60)
    gc.collect()
    assert gone() is None
