"""The view of the object that the map points at."""

from __future__ import annotations

import gc
import io
import sys
import threading
import weakref

import numpy as np
import pytest
from PIL import Image

import nbcnnviz as nv
from nbcnnviz.explorer.panels import ExplainPanel

MINUTE = 60


@pytest.fixture
def ex(explore, toy):
    return explore(toy, "chelsea", target=1, method="saliency", panels=["explain"])


@pytest.fixture
def panel(ex) -> ExplainPanel:
    return ex.panels["explain"]


def shown(panel: ExplainPanel) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(panel.widget.object))) > 0


def test_it_is_cut_out_while_somebody_looks_and_not_before(ex, panel: ExplainPanel) -> None:
    assert panel.widget.object == b""
    panel.widget.outlining = True
    assert panel.cut_out.wait(MINUTE)
    expected = nv.segment(ex.result, smooth=round(3 / 224 * min(ex.result.trace.size), 1))
    assert (shown(panel) == expected.mask).all()
    assert panel.widget.object_note == ""


def test_it_follows_the_map(ex, panel: ExplainPanel) -> None:
    panel.widget.outlining = True
    panel.cut_out.wait(MINUTE)
    before = shown(panel)
    ex.selection.method = "grad_cam"
    ex.wait(MINUTE)
    assert panel.cut_out.wait(MINUTE)
    assert (shown(panel) == nv.segment(ex.result).mask).all()
    assert (shown(panel) != before).any()
    ex.selection.image = "coffee"
    ex.wait(MINUTE)
    assert panel.cut_out.wait(MINUTE)
    assert (shown(panel) == nv.segment(ex.result).mask).all()


def test_a_map_that_is_still_refined_has_none_until_it_is_stopped(ex, panel: ExplainPanel) -> None:
    frame = panel.widget
    frame.outlining = True
    seen: list[bool] = []
    twice = threading.Event()

    def look(_: object) -> None:
        seen.append(frame.object == b"")
        if len(seen) > 1:
            twice.set()

    ex.session.observe(look)
    with ex.selection.hold_trait_notifications():
        ex.selection.method = "rise"
        ex.selection.options = {"masks": 100_000, "batch": 8}
    assert twice.wait(MINUTE)
    ex.stop()
    ex.wait(MINUTE)
    assert all(seen)
    assert panel.cut_out.wait(MINUTE)
    assert (shown(panel) == nv.segment(ex.result, smooth=panel.cut_out._options(ex.result)["smooth"]).mask).all()


def test_where_it_has_no_meaning_a_sentence_says_why(ex, panel: ExplainPanel) -> None:
    panel.widget.outlining = True
    panel.cut_out.wait(MINUTE)
    ex.selection.image = Image.new("RGB", (40, 40), (90, 120, 60))
    ex.wait(MINUTE)
    assert panel.cut_out.wait(MINUTE)
    assert panel.widget.object == b""
    assert "one colour everywhere" in panel.widget.object_note
    ex.selection.image = "coffee"
    ex.wait(MINUTE)
    assert panel.cut_out.wait(MINUTE)
    assert panel.widget.object_note == ""
    assert shown(panel).any()


def test_where_the_library_is_missing_a_sentence_says_so_and_the_other_algorithm_works(
    ex, panel: ExplainPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    frame = panel.widget
    frame.outlining, frame.cut_by = True, "grabcut"
    assert panel.cut_out.wait(MINUTE)
    assert "opencv-python-headless" in frame.object_note
    assert "how='grabcut'" in ex.code()
    frame.cut_by = "random_walker"
    assert panel.cut_out.wait(MINUTE)
    assert frame.object_note == ""
    assert shown(panel).any()


def test_it_is_saved_and_in_the_code(ex, panel: ExplainPanel, tmp_path) -> None:
    assert "nv.segment" not in ex.code()
    panel.widget.outlining = True
    panel.cut_out.wait(MINUTE)
    ex.save(tmp_path / "cat.mask.png")
    assert (np.asarray(Image.open(tmp_path / "cat.mask.png")) == 255 * shown(panel)).all()
    ex.save(tmp_path / "cat.npz")
    assert (np.load(tmp_path / "cat.npz")["mask"] == shown(panel)).all()
    line = ex.code().splitlines()[-1]
    assert line.startswith("mask = nv.segment(result")
    made: dict = {"nv": nv, "result": ex.result}
    exec(line, made)
    assert (made["mask"].mask == shown(panel)).all()
    panel.widget.outlining = False
    ex.save(tmp_path / "unseen.mask.png")  # made when it is asked for
    assert (tmp_path / "unseen.mask.png").read_bytes() == (tmp_path / "cat.mask.png").read_bytes()


def test_what_is_cut_out_holds_no_trace_of_another_picture(ex, panel: ExplainPanel) -> None:
    panel.widget.outlining = True
    panel.cut_out.wait(MINUTE)
    gone = weakref.ref(ex.result.trace)
    ex.selection.image = "coffee"
    ex.wait(MINUTE)
    assert panel.cut_out.wait(MINUTE)
    gc.collect()
    assert gone() is None
