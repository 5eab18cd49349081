"""The Compare panel driven without a browser: what is computed, what is drawn, what a click selects."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import nbcnnviz as nv
from nbcnnviz.attribution.method import _METHODS, method
from nbcnnviz.explorer import Explorer
from nbcnnviz.explorer.panels.compare import ComparePanel
from nbcnnviz.metrics import insertion, pointing, randomised
from tests.explorer.conftest import PATIENCE


@pytest.fixture
def ex(explore, toy):
    return explore(toy, "chelsea", target=2, panels=["compare"])


@pytest.fixture
def panel(ex) -> ComparePanel:
    return ex.panels["compare"]


def turn(ex: Explorer, control, value) -> None:
    control.value = value
    ex.wait(PATIENCE)
    if ex.error:
        raise ex.error


def entries(panel: ComparePanel) -> dict:
    return {entry.name: entry for entry in panel.result.comparison.entries}


def click(ex: Explorer, panel: ComparePanel, name: str) -> None:
    at = panel.tiles.indices[panel.tiles.labels.index(name)]
    panel.tiles._handle_custom_msg({"type": "choose", "index": at}, [])
    ex.wait(PATIENCE)


def mark(ex: Explorer, panel: ComparePanel, *box: int) -> None:
    panel.marked.frame._handle_custom_msg({"type": "marked", "box": list(box)}, [])
    ex.wait(PATIENCE)


def test_every_method_that_applies_has_a_tile_and_the_others_their_reason(ex, toy, panel) -> None:
    named = entries(panel)
    assert set(panel.tiles.labels) == {name for name, entry in named.items() if entry.applies}
    assert {"Grad-CAM", "Saliency", "CAM"} <= set(panel.tiles.labels)
    assert panel.tiles.chosen == panel.tiles.indices[panel.tiles.labels.index("Grad-CAM")]
    assert panel.tiles.notes == [""] * len(panel.tiles.labels)
    assert "RISE (4000)" in panel._left_out.value
    expected = nv.attribute(toy, "chelsea", method="layer_cam", target=2)
    assert torch.allclose(named["Layer-CAM"].result.values, expected.values, atol=1e-6)


def test_maps_share_one_scale_and_each_has_its_correlation_in_its_corner(ex, panel) -> None:
    tiles, found = panel.tiles, panel.result.comparison
    assert len(tiles.lows) == len(tiles.highs) == 1
    assert (tiles.lows, tiles.highs) == ([-1.0], [1.0]), "there are signed maps among them"
    n, height, width, _ = tiles.shape
    values = np.frombuffer(tiles.values, np.uint8).reshape(n, height, width)
    assert all(np.abs(values[i].astype(int) - 127.5).max() > 100 for i in range(n)), "each reaches the scale's end"
    for index, badge in zip(tiles.indices, tiles.badges, strict=True):
        correlation = found.correlations[index, found.chosen]
        assert badge == ("" if index == found.chosen or np.isnan(correlation) else f"{correlation:.2f}")
    turn(ex, panel.relative, False)
    assert tiles.highs[0] == pytest.approx(max(float(np.abs(np.asarray(m)).max()) for m in _native(panel)), rel=0.5)
    panel.over.value = True
    assert tiles.shape[3] == 3


def _native(panel: ComparePanel):
    return [e.result.values[0].detach().sum(0) for e in panel.result.comparison.entries if e.result is not None]


@pytest.mark.parametrize(
    ("axis", "trait"), [("methods", "method"), ("classes", "target"), ("layers", "layer"), ("pictures", "source")]
)
def test_a_click_selects_what_the_tile_shows_and_nothing_is_made_again(ex, panel, axis: str, trait: str) -> None:
    if axis != "methods":
        turn(ex, panel.axis, axis)
    before = panel.result.comparison
    other = next(e for e in before.entries if not e.chosen and e.applies and e.result is not None)
    panel.choose(before.entries.index(other))
    ex.wait(PATIENCE)
    assert ex.error is None
    assert getattr(ex.selection, trait) == other.value
    after = panel.result.comparison
    assert [e.name for e in after.entries if e.chosen] == [other.name]
    assert panel.tiles.chosen == after.chosen
    if axis in ("methods", "classes"):
        assert {e.name for e in before.entries} == {e.name for e in after.entries}
        made = {e.name: e.result for e in before.entries}
        assert all(e.result is made[e.name] for e in after.entries)


def test_networks_are_those_used_and_their_copies_without_what_they_learnt(ex, toy, panel) -> None:
    turn(ex, panel.axis, "networks")
    assert panel.tiles.labels == ["toy", "toy, weights drawn anew"]
    expected = nv.attribute(randomised(toy), "chelsea", target=2)
    assert torch.allclose(panel.result.comparison.entries[1].result.values, expected.values, atol=1e-5)
    click(ex, panel, "toy, weights drawn anew")
    assert ex.selection.network.name == "toy, weights drawn anew"
    assert ex.selection.target == 2
    assert panel.tiles.labels == ["toy", "toy, weights drawn anew"]
    assert panel.tiles.chosen == 1
    click(ex, panel, "toy")
    assert ex.selection.network is toy


def test_the_cascade_comes_stage_by_stage_and_its_copies_are_not_kept(ex, panel) -> None:
    turn(ex, panel.axis, "cascade")
    assert panel.tiles.labels[:2] == ["as trained", "from 8 up"]
    assert len(panel.tiles.labels) == 5, "four modules have weights"
    click(ex, panel, "from 8 up")
    assert "not kept" in str(ex.error)


def test_an_error_stands_in_its_tile_and_the_rest_goes_on(ex, panel) -> None:
    @method("Broken", family="gradients", cost="none")
    def broken(trace, target, layer):
        """It fails."""
        raise ZeroDivisionError("nothing to divide by")
        yield

    try:
        panel.ask()
        ex.wait(PATIENCE)
    finally:
        del _METHODS["broken"]
    tiles = panel.tiles
    note = dict(zip(tiles.labels, tiles.notes, strict=True))
    assert note.pop("Broken") == "ZeroDivisionError: nothing to divide by."
    assert set(note.values()) == {""}
    assert ex.error is None


def test_tiles_wait_until_their_map_is_made(explore, toy, sampled) -> None:
    ex = explore(toy, "chelsea", method=sampled, panels=["compare"])
    panel = ex.panels["compare"]
    frames = list(panel.answer(_asked(ex, panel), ex.session.trace))
    assert frames[-1].step == frames[-1].steps
    panel._computing.known = None
    first = next(iter(panel.answer(_asked(ex, panel), ex.session.trace)))
    panel.show(first)
    assert set(panel.tiles.notes) == {"waiting"}
    assert first.step == 0


def _asked(ex: Explorer, panel: ComparePanel):
    from dataclasses import replace

    return replace(ex.selection.snapshot, settings=panel.settings())


def test_the_matrix_has_every_pair(ex, panel) -> None:
    turn(ex, panel.axis, "classes")
    cells = re.findall(r"<td[^>]*>(-?\d\.\d\d)</td>", panel._matrix.value)
    found = panel.result.comparison.correlations
    assert cells == [f"{value:.2f}" for value in found.ravel()]


def test_scores_are_computed_when_asked_for_and_each_says_what_it_means(ex, toy, panel) -> None:
    panel.view.value = "Scores"
    assert "no number of them is a verdict" in panel.scores._table.value
    mark(ex, panel, 2, 3, 12, 14)
    assert panel.marked.box == (2, 3, 12, 14)
    panel.judge()
    ex.wait(PATIENCE)
    at = panel.result.comparison.chosen
    assert list(panel.result.judged) == [at]
    found = {one.metric.name: one for one in panel.result.judged[at]}
    result = panel.result.comparison.entries[at].result
    assert found["insertion"].value == insertion(result.trace, result, steps=25).auc
    assert found["pointing"].value == float(pointing(result, (2, 3, 12, 14)))
    for one in found.values():
        assert one.score.meaning in panel.scores._table.value.replace("&#x27;", "'")
    assert np.allclose(panel.scores._charts["insertion"].y[0], found["insertion"].score.values)
    panel.scores.of.value = "all maps"
    panel.judge()
    ex.wait(PATIENCE)
    assert len(panel.result.judged) == sum(e.result is not None for e in panel.result.comparison.entries)
    assert panel.result.step == panel.result.steps


def test_the_box_can_be_typed(ex, panel) -> None:
    for edge, value in zip(panel.marked._edges, (1, 2, 11, 9), strict=True):
        edge.value = value
    assert panel.marked.box == (1, 2, 11, 9)
    assert panel.marked.frame.box == [1, 2, 11, 9]
    panel.marked._clear.click()
    assert panel.marked.box is None
    assert [edge.value for edge in panel.marked._edges] == [0, 0, 0, 0]
    mark(ex, panel, "a", None, 3, 4)
    assert panel.marked.box is None


def test_what_if_shows_the_classes_before_and_after_at_once(ex, toy, panel) -> None:
    ex.selection.layer = "4"
    turn(ex, panel.view, "What if")
    assert "scale a filter of 4" in panel.what_if._about.value
    panel.what_if.filter.value = 3
    turn(ex, panel.what_if.scale, 0.0)
    expected = nv.what_if(toy.trace("chelsea"), "4", 3)
    assert torch.allclose(panel.result.what_if.after, expected.after, atol=1e-5)
    shown = np.asarray(panel.what_if._bars.y)
    assert np.allclose(shown, np.array([[row[2] for row in expected.top(5)], [row[3] for row in expected.top(5)]]))
    assert "channel 3 of 4 off" in panel.what_if._about.value
    mark(ex, panel, 0, 0, 10, 12)
    turn(ex, panel.what_if.region, "it alone")
    both = nv.what_if(toy.trace("chelsea"), "4", 3, box=(0, 0, 10, 12), region="keep")
    assert torch.allclose(panel.result.what_if.after, both.after, atol=1e-5)
    assert ex.code().splitlines()[-1] == "found = nv.what_if(trace, '4', 3, scale=0, box=(0, 0, 10, 12), region='keep')"


def test_the_filter_that_matters_most_is_offered_first_and_the_readers_stays(ex, toy, panel) -> None:
    ex.selection.layer = "4"
    turn(ex, panel.view, "What if")
    trace = toy.trace("chelsea")
    products = (trace["4"] * trace.gradient(2, "4")).sum((0, 2, 3))
    assert panel.what_if.filter.value == int(products.argmax())
    panel.what_if.filter.value = 5
    ex.wait(PATIENCE)
    turn(ex, panel.what_if.scale, 0.5)
    assert panel.what_if.filter.value == 5
    assert "channel 5 of 4 times 0.5" in panel.what_if._about.value


def test_the_filter_selected_is_the_one_changed(ex, panel) -> None:
    ex.selection.layer = "4"
    ex.selection.filter = 6
    ex.wait(PATIENCE)
    assert panel.what_if.filter.value == 6
    assert panel.what_if.filter.max == 7


def test_the_code_makes_the_maps_again(ex, toy, panel) -> None:
    turn(ex, panel.axis, "classes")
    code = [line for line in ex.code().splitlines() if not line.startswith(("import", "net ="))]
    made = {"nv": nv, "net": toy}
    exec("\n".join(code), made)
    found = panel.result.comparison
    assert [e.value for e in made["found"].entries] == [e.value for e in found.entries]
    assert np.allclose(made["found"].correlations, found.correlations, equal_nan=True)


def test_it_is_saved_as_a_picture_and_as_numbers(ex, panel, tmp_path) -> None:
    turn(ex, panel.axis, "classes")
    for name in ("maps.png", "maps.npz", "maps.html"):
        ex.save(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
    arrays = np.load(tmp_path / "maps.npz")
    assert np.allclose(arrays["correlations"], panel.result.comparison.correlations, equal_nan=True)
    assert (arrays["map_0"] == panel.result.comparison.entries[0].result.values[0].numpy()).all()


def test_another_picture_is_compared_anew_and_no_trace_is_held(ex, panel) -> None:
    import gc
    import weakref

    gone = weakref.ref(ex.session.trace)
    ex.selection.image = "coffee"
    ex.wait(PATIENCE)
    gc.collect()
    assert gone() is None
    assert panel.result.comparison.step == panel.result.comparison.steps


def test_a_run_can_be_stopped_and_goes_on_where_it_was(ex, panel) -> None:
    panel.cost.value = "all methods"
    ex.stop()
    ex.wait(PATIENCE)
    done = sum(e.done for e in panel._computing.known.entries)
    assert done >= len([e for e in panel._computing.known.entries if e.cost <= 3])


def test_a_run_can_be_paused_and_goes_on(ex, panel) -> None:
    panel.axis.value = "cascade"
    task = ex.session.task
    task.pause()
    assert task.wait(PATIENCE)
    assert task.state in ("paused", "done")
    task.resume()
    ex.wait(PATIENCE)
    assert panel.result.step == panel.result.steps == len(panel.tiles.labels)


def test_a_network_without_maps_says_so_in_place_of_layers(explore, mlp) -> None:
    ex = explore(mlp, "chelsea", method="saliency", panels=["compare"])
    panel = ex.panels["compare"]
    panel.axis.value = "layers"
    ex.wait(PATIENCE)
    assert "nothing to compare" in str(ex.error)
    panel.axis.value = "classes"
    ex.wait(PATIENCE)
    assert ex.error is None
    assert len(panel.tiles.labels) == 4


def test_closing_it_closes_all_its_widgets(explore, toy) -> None:
    from ipywidgets.widgets.widget import _instances

    before = set(_instances)
    ex = explore(toy, "chelsea", panels=["compare"])
    panel = ex.panels["compare"]
    for view in ("Agreement", "Scores", "What if", "Maps"):
        turn(ex, panel.view, view)
    ex.close()
    assert [type(_instances[key]).__name__ for key in set(_instances) - before if key in _instances] == []
