"""The Dataset panel: a scan that goes on by itself, the patches of the chosen filter, what a click does, what goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nbcnnviz as nv
from nbcnnviz.dataset import scan, scanning, seen_patch, source_of
from nbcnnviz.explorer import Explorer
from nbcnnviz.explorer.panels.dataset import DatasetPanel
from nbcnnviz.explorer.panels.dataset.tiles import SIDE
from tests import toys
from tests.explorer.conftest import PATIENCE


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(toys.classic(), size=24)


@pytest.fixture
def folder(tmp_path) -> Path:
    for i in range(20):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.effect_noise((30, 24), 20 + 9 * i).convert("RGB").save(tmp_path / "ab"[i % 2] / f"{i:02}.png")
    return tmp_path


@pytest.fixture
def opened(explore, net, folder) -> tuple[Explorer, DatasetPanel]:
    ex = explore(net, "chelsea", layer="5", panels=["dataset", "explain"])
    ex.panel = "dataset"
    panel = ex.wait(PATIENCE).panels["dataset"]
    panel.pictures.value, panel.path.value = "", str(folder)
    return ex, panel


def scanned(ex: Explorer, panel: DatasetPanel) -> None:
    panel.start()
    panel.wait(PATIENCE)
    ex.wait(PATIENCE)


def choose(panel: DatasetPanel, index: int) -> None:
    panel.tiles._handle_custom_msg({"type": "choose", "index": index}, [])


def pixels(panel: DatasetPanel) -> np.ndarray:
    return np.frombuffer(panel.tiles.values, np.uint8).reshape(panel.tiles.shape)


def test_it_says_what_will_be_there_before_it_is_asked_for_anything(opened) -> None:
    ex, panel = opened
    assert "nine patches" in panel._note.value
    assert panel.tiles.layout.display == "none"
    assert panel.preview() is None
    with pytest.raises(nv.ExportError, match="scan pictures first"):
        panel.save("a.png")
    assert ex.code().count("\n") == 2


def test_a_scan_is_seen_with_its_task_or_not_at_all(opened, monkeypatch) -> None:
    ex, panel = opened
    start, seen = panel._tasks.start, []

    def watched(*given, **options):
        task = start(*given, **options)
        seen.append((panel.run, panel.error))  # as anybody may who does not wait for the panel's lock
        return task

    monkeypatch.setattr(panel._tasks, "start", watched)
    scanned(ex, panel)
    assert seen[0] == (None, None)
    assert panel.run.task.state == "done"


def test_the_filters_patches_are_those_of_the_scan_each_beside_its_projection(opened, net, folder) -> None:
    ex, panel = opened
    scanned(ex, panel)
    assert panel.error is None
    expected = scan(net, folder)
    for channel in (0, 3):
        ex.selection.filter = channel
        ex.wait(PATIENCE)
        assert [s.patch for s in panel.result.seen] == expected.patches("5", channel)
        assert pixels(panel).shape == (9, SIDE, 2 * SIDE, 3)
        for tile, one in zip(pixels(panel), panel.result.seen, strict=True):
            alone = seen_patch(net, source_of(folder), "5", channel, one.patch)
            assert one.label == one.patch.key[0]
            for half, whole in ((tile[:, :SIDE], alone.pixels), (tile[:, SIDE:], alone.projected_pixels)):
                shape = np.rint(np.asarray(whole.shape[:2]) * SIDE / max(whole.shape[:2])).astype(int)
                top, left = (SIDE - shape) // 2
                middle = Image.fromarray(whole).resize(tuple(shape[::-1].tolist()), Image.Resampling.BICUBIC)
                assert np.array_equal(half[top : top + shape[0], left : left + shape[1]], np.asarray(middle))
        assert f"fires in {expected.fires('5', channel):.0%} of 20 pictures" in panel.tiles.caption


def test_a_click_opens_the_picture_with_the_unit_selected(opened, net, folder) -> None:
    ex, panel = opened
    scanned(ex, panel)
    ex.selection.filter = 3
    ex.wait(PATIENCE)
    patch = panel.result.seen[2].patch
    choose(panel, 2)
    ex.wait(PATIENCE)
    s = ex.selection
    assert (s.layer, s.filter, s.unit) == ("5", 3, (patch.row, patch.column))
    assert s.source == str(folder / patch.key)
    assert float(ex.session.trace["5"][0, 3, patch.row, patch.column]) == pytest.approx(patch.value, abs=1e-5)
    for nothing in (99, -1, None):
        choose(panel, nothing)
    assert ex.error is None


def slow(monkeypatch, gate: threading.Semaphore) -> None:
    """A picture is only read when the test lets it."""
    real = scanning.load

    def waits(*args: object) -> object:
        gate.acquire()
        return real(*args)

    monkeypatch.setattr(scanning, "load", waits)
    monkeypatch.setattr(scanning, "CHUNK", 4)
    monkeypatch.setattr(scanning, "LEAST", 4)


def until(what: Callable[[], object]) -> None:
    event = threading.Event()
    for _ in range(int(PATIENCE * 50)):
        if what():
            return
        event.wait(0.02)
    raise AssertionError("It never came about.")


def test_it_fills_while_the_scan_goes_on_and_other_things_are_explained(opened, monkeypatch) -> None:
    ex, panel = opened
    gate = threading.Semaphore(0)
    slow(monkeypatch, gate)
    ex.selection.filter = 1
    panel.start()
    gate.release(4)
    until(lambda: panel.result is not None and len(panel.result.seen) == 4)
    assert panel._start.disabled  # it is paused in the line of status, and there alone
    assert panel._status.pausable
    assert panel._status.status.startswith("Scan: 4 of 20")
    ex.panel = "explain"
    ex.selection.target = 2
    ex.wait(PATIENCE)
    assert ex.result is not None
    assert panel.run.task.going
    gate.release(16)
    panel.wait(PATIENCE)
    assert len(panel.result.seen) == 4  # hidden, it computes nothing
    ex.panel = "dataset"
    ex.wait(PATIENCE)
    assert len(panel.result.seen) == 9
    assert panel._start.description == "Scan"


def test_a_scan_that_was_stopped_goes_on_where_it_was(opened, net, folder, monkeypatch) -> None:
    ex, panel = opened
    gate = threading.Semaphore(0)
    slow(monkeypatch, gate)
    panel.start()
    gate.release(8)
    until(lambda: panel.run.result is not None and panel.run.result.seen == 8)
    panel.stop()
    gate.release(12)
    panel.wait(PATIENCE)
    assert panel._start.description == "Go on"
    seen = panel.run.result.seen
    assert 8 <= seen < 20
    gate.release(40)
    scanned(ex, panel)
    assert panel.run.result.seen == 20
    assert panel.run.result.patches("5", 2) == scan(net, folder).patches("5", 2)
    assert panel.run.task.made < 1 + 20 // 4  # the parts that were there were not scanned again


def test_pictures_that_cannot_be_read_are_counted_and_named(opened, folder) -> None:
    ex, panel = opened
    for i in range(5):
        (folder / "a" / f"broken{i}.png").write_bytes(b"no picture")
    scanned(ex, panel)
    assert panel.error is None
    words = panel._words.value
    assert "20 pictures" in words
    assert "5 could not be read. a/broken0.png" in words
    assert "and 2 more" in words


def test_what_goes_wrong_is_a_sentence_in_the_panel(opened, tmp_path) -> None:
    ex, panel = opened
    (tmp_path / "empty").mkdir()
    for path, said in (
        (str(tmp_path / "empty"), "no picture in empty"),
        ("/nowhere", "no folder"),
        ("", "Name a folder"),
    ):
        panel.path.value = path
        panel.start()
        panel.wait(PATIENCE)
        assert said in panel._status.error
    panel.pictures.value = "samples"
    scanned(ex, panel)
    assert panel._status.error == ""
    assert len(panel.result.seen) == 9


def test_a_layer_that_was_not_scanned_says_so(opened) -> None:
    ex, panel = opened
    panel.layers.value = True
    scanned(ex, panel)
    assert list(panel.run.result.layers) == ["5"]
    ex.selection.layer = "2"
    ex.wait(PATIENCE)
    assert "did not look at 2" in panel._note.value
    assert panel.tiles.layout.display == "none"
    ex.selection.network = nv.Network(toys.classic(), size=24, name="another")
    ex.wait(PATIENCE)
    assert "scan again for this network" in panel._note.value


def test_the_synthesised_picture_and_the_card_are_made_and_kept(opened, tmp_path, monkeypatch) -> None:
    ex, panel = opened
    monkeypatch.setattr("nbcnnviz.explorer.panels.dataset.extras.STEPS", 4)
    scanned(ex, panel)
    ex.selection.filter = 2
    ex.wait(PATIENCE)
    panel.synthesise()
    panel._extras._task.wait(PATIENCE)
    assert panel._extras.picture.layout.display is None
    assert "step 4" in panel._extras.picture.caption
    panel.make_card()
    panel._extras._task.wait(PATIENCE)
    card = panel._extras.card
    assert (card.layer, card.channel, len(card.patches)) == ("5", 2, 9)
    assert not card.missing
    assert card.synthesised is panel._extras._made[(ex.selection.network, "5", 2)]
    assert "What fires it most" in panel._extras.page.value
    panel.save(tmp_path / "card.html")
    assert (tmp_path / "card.html").read_text() == card.html()
    panel.save(tmp_path / "scan.npz")
    assert nv.TopPatches.load(tmp_path / "scan.npz").seen == 20
    panel.save(tmp_path / "patches.png")
    assert Image.open(tmp_path / "patches.png").size == panel.preview().size
    ex.selection.filter = 3  # of which there is nothing yet
    ex.wait(PATIENCE)
    assert panel._extras.picture.layout.display == panel._extras.card_box.layout.display == "none"


def test_the_code_makes_the_same_patches_again(opened, net) -> None:
    ex, panel = opened
    panel.pictures.value = "samples"
    scanned(ex, panel)
    ex.selection.filter = 4
    ex.wait(PATIENCE)
    names: dict[str, object] = {}
    code = ex.code().replace("net = ...  # your nv.Network", "").replace("nv.unit_card(trace,", "dict(a=")
    exec(code.rpartition("card =")[0], names | {"net": net}, names)
    assert names["patches"] == [s.patch for s in panel.result.seen]
