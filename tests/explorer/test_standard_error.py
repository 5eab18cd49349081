"""The standard error of a method that samples, shown in place of its map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nbcnnviz.explorer.panels import ExplainPanel
from nbcnnviz.render import Scale, flat, overlay, to_bytes


@pytest.fixture
def ex(explore, toy):
    ex = explore(toy, "chelsea", target=1, method="smooth_grad", panels=["explain"])
    ex.selection.options = {"samples": 4}
    ex.wait(60)
    return ex


@pytest.fixture
def panel(ex) -> ExplainPanel:
    return ex.panels["explain"]


def drawn(values: torch.Tensor) -> bytes:
    map_ = flat(values)[0]
    return to_bytes(map_, Scale.to_show(map_)).tobytes()


def test_it_is_shown_in_place_of_the_map_and_the_map_again(ex, panel: ExplainPanel) -> None:
    frame, result, caption = panel.widget, ex.result, panel.widget.caption
    assert result.error is not None
    assert bool(result.error.any())
    assert frame.has_error
    assert frame.values == drawn(result.values)
    frame.of_error = True
    assert frame.values == drawn(result.error) != drawn(result.values)
    assert frame.high == Scale.to_show(flat(result.error)[0]).high
    assert frame.caption == f"Standard error of {caption}"
    assert ex.result is result  # which is the map, as before
    frame.of_error = False
    assert (frame.values, frame.caption) == (drawn(result.values), caption)


def test_it_stays_wanted_where_a_map_has_none(ex, panel: ExplainPanel) -> None:
    panel.widget.of_error = True
    ex.selection.method = "saliency"
    ex.wait(60)
    assert not panel.widget.has_error
    assert panel.widget.values == drawn(ex.result.values)
    assert not panel.widget.caption.startswith("Standard error")
    ex.selection.method = "smooth_grad"
    ex.wait(60)
    assert panel.widget.has_error
    assert panel.widget.values == drawn(ex.result.error)


def test_files_have_what_is_shown_and_both_arrays(ex, panel: ExplainPanel, tmp_path: Path) -> None:
    panel.widget.of_error = True
    result = ex.result
    expected = overlay(result.trace.pictures[0], result.error[0], opacity=0.7, colours=panel.widget.colours)
    assert np.array_equal(np.asarray(panel._overlay(result)), np.asarray(expected))
    ex.save(tmp_path / "map.npz")
    with np.load(tmp_path / "map.npz") as arrays:
        assert np.array_equal(arrays["values"], result.values[0].cpu().numpy())
        assert np.array_equal(arrays["error"], result.error[0].cpu().numpy())
    panel.pin()
    assert panel.pinned.values.equal(result.error[0])
    assert panel.widget.pinned["values"] == drawn(result.error)
    ex.selection.target = 3
    ex.wait(60)
    assert panel.widget.likeness == ""  # which is of maps
