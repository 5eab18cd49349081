"""The Synthesize panel, as far as the kernel goes."""

from __future__ import annotations

import gc
import importlib
import io
import re
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import torch
from ipywidgets.widgets.widget import _instances
from PIL import Image, ImageOps
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz import synthesis as s
from nbcnnviz.core.errors import ExportError
from nbcnnviz.explorer.front import parts_of
from nbcnnviz.explorer.options import class_labels
from nbcnnviz.explorer.panels.synthesize import SynthesizePanel
from nbcnnviz.explorer.panels.synthesize.curves import Curves
from nbcnnviz.explorer.panels.synthesize.screen import STAYING
from nbcnnviz.explorer.panels.synthesize.setup import subject_of
from nbcnnviz.render.encoding import encoded
from nbcnnviz.session import Selection, Session
from nbcnnviz.session.pace import SLACK, Pace
from nbcnnviz.synthesis.controls import CONTROLS
from nbcnnviz.synthesis.recipe import _RECIPES
from nbcnnviz.synthesis.record import POINTS, RunRecord
from nbcnnviz.synthesis.subject import numbers
from tests import toys
from tests.explorer.conftest import PATIENCE
from tests.untouched import photograph

FOREVER = 100_000


class Bench:
    """A panel with what it is about, and hands on its controls."""

    def __init__(self, network: nv.Network, image: object = "coffee", **selected: object) -> None:
        self.selection = Selection(network, image)
        for name, value in selected.items():
            setattr(self.selection, name, value)
        self.session = Session(self.selection)
        self.panel = SynthesizePanel(self.selection, lambda act: act(), self.session.ask)
        self.panel.use(self.session.tasks)
        self.session.view, self.session.views = self.panel, [self.panel]
        self.select()

    def __getattr__(self, name: str) -> object:
        """A control by its name."""
        panel = self.panel
        if name in panel._setup.controls and name != "pictures":  # the frame of them
            return panel._setup.controls[name]
        return next(getattr(part, name) for part in (panel._layout, panel._screen, panel._setup) if hasattr(part, name))

    def select(self, **selected: object) -> None:
        """Change the selection, as the explorer tells of it."""
        for name, value in selected.items():
            setattr(self.selection, name, value)
        self.session.ask()
        assert self.session.tasks.wait(PATIENCE)

    def run(self, recipe: str | None = None, steps: int = 6, **options: object) -> s.Frame:
        """Run to the end; what went wrong, if anything did, is raised."""
        if recipe is not None:
            self.recipe.value = recipe
        self.steps.value = steps
        for name, value in options.items():
            getattr(self, name).value = value
        self.click("begin")
        return self.end()

    def end(self) -> s.Frame:
        self.panel.wait(PATIENCE)
        if self.panel.error is not None:
            raise self.panel.error
        assert self.status.error == ""
        assert self.panel.run is not None
        assert self.panel.run.newest is not None
        return self.panel.run.newest.frame

    def start_forever(self) -> None:
        self.steps.value = FOREVER
        self.panel.start()
        self.until(lambda: self.panel.run.task.made >= 3)

    def until(self, found: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not found():
            assert time.monotonic() < end, self.status.error or self.status.status
            time.sleep(0.002)

    def shows(self, picture: Image.Image, at: int = 0) -> bool:
        """Whether the picture frame shows this picture, as it travels."""
        return self.pictures.pictures[at] == encoded(picture, STAYING)

    @property
    def said(self) -> str:
        return unescape(re.sub("<[^>]*>", "", f"{self.verb.value} {self.words.value}").strip())

    def close(self) -> None:
        self.session.close()
        self.panel.close()

    def click(self, button: str) -> None:
        if button in ("pause", "stop"):  # those of the status line; pause also resumes
            assert self.status.running
            assert button == "stop" or self.status.pausable
            self.status._handle_custom_msg({"type": button}, [])
            return
        found = getattr(self, button)
        assert not found.disabled
        found.click()


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    opened: list[Bench] = []

    def open_(*args: object, **selected: object) -> Bench:
        opened.append(Bench(*args, **selected))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()


@pytest.fixture
def made(bench, toy: nv.Network) -> Bench:
    return bench(toy)


# A run.


@pytest.mark.parametrize("name", list(s.recipes()))
def test_every_recipe_runs_and_is_what_the_library_makes(made: Bench, toy: nv.Network, name: str) -> None:
    made.select(layer="3", filter=2)
    if name == "dream":
        made.size.value = "40"
    frame = made.run(name, steps=3)
    assert frame.provenance.recipe == name
    names: dict = {"net": toy}
    exec("\n".join(made.panel.code("'coffee'")), names)
    again = names["frame"]
    assert torch.equal(again.input, frame.rounded.input)
    assert made.status.status.startswith("Done")
    assert not made.status.running
    assert made.shows(frame.image, 1 if s.recipes()[name].takes == "picture" else 0)


def test_the_first_class_asked_for_is_the_one_that_the_network_sees(made: Bench, toy: nv.Network) -> None:
    assert made.said == "Maximize the picture's top class"
    frame = made.run()
    top = toy.trace("coffee").top(1)[0][0]
    assert frame.provenance.subject == f"nv.ClassScore({top})"
    assert f"class {toy.classes[top]} ({top})" in made.pictures.caption


def test_a_run_is_paused_resumed_stepped_and_stopped(made: Bench) -> None:
    made.start_forever()
    run = made.panel.run
    assert made.status.pausable
    assert not made.status.paused
    assert made.begin.disabled
    assert made.recipe.disabled
    assert made.steps.disabled
    made.click("pause")
    made.panel.wait(PATIENCE)
    paused = run.task.made
    time.sleep(0.05)
    assert run.task.made == paused
    assert made.status.status.startswith(f"Paused at step {paused - 1} of {FOREVER}")
    assert made.status.paused
    for more in (1, 2, 3):
        made.click("step")
        made.panel.wait(PATIENCE)
        assert run.task.made == paused + more
        assert made.pictures.caption.startswith(f"Step {paused + more - 1}")
    made.click("pause")
    made.until(lambda: run.task.made > paused + 10)
    made.click("stop")
    made.panel.wait(PATIENCE)
    assert run.task.state == "stopped"
    assert made.status.status.startswith("Ended at step")
    assert not made.begin.disabled
    assert not made.recipe.disabled
    assert not made.status.running
    assert not made.status.pausable


def test_three_quick_clicks_on_step_are_three_steps(made: Bench) -> None:
    for _ in range(4):
        made.click("step")
    made.panel.wait(PATIENCE)
    assert made.panel.run.task.made == 4


def test_step_while_it_runs_pauses_after_the_next(made: Bench) -> None:
    made.start_forever()
    made.click("step")
    made.panel.wait(PATIENCE)
    assert made.panel.run.task.state == "paused"
    assert made.status.status.startswith("Paused")


def test_paused_and_stepped_it_is_the_same_run(made: Bench, toy: nv.Network) -> None:
    made.steps.value = 6
    made.select(target=1)
    made.click("step")
    made.panel.wait(PATIENCE)
    made.click("step")
    made.panel.wait(PATIENCE)
    made.click("pause")
    *_, straight = s.feature_visualization(toy, 1, steps=6)
    assert torch.equal(made.end().input, straight.input)


class Counting(nn.Module):
    """Counts its passes, and can be made to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.passes, self.go_on = toys.classic().eval(), 0, threading.Event()
        self.go_on.set()

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        assert self.go_on.wait(PATIENCE)
        return self.own(x)


@pytest.mark.parametrize("how", ["pause", "stop"])
def test_pause_and_stop_take_effect_within_one_step(bench, how: str) -> None:
    module = Counting()
    made = bench(nv.Network(module, size=(24, 20)), target=0)
    made.start_forever()
    module.go_on.clear()
    before = made.panel.run.task.made
    getattr(made.panel, how)()
    passes = module.passes
    module.go_on.set()
    made.panel.wait(PATIENCE)
    assert made.panel.run.task.made <= before + 2
    assert module.passes <= passes + 1


def test_a_control_moved_while_it_runs_acts_within_two_steps(made: Bench) -> None:
    made.select(target=1)
    for _ in range(3):
        made.panel.step()
    made.panel.wait(PATIENCE)
    made.learning_rate.value = 0.5
    made.tv.value = 1e-3
    for _ in range(2):
        made.panel.step()
    frame = made.end()
    assert frame.step == 4
    assert frame.provenance.changes == ((3, {"learning_rate": 0.5, "tv": 1e-3}),)
    assert "tv" in frame.penalties
    with_tv = [bool(penalties) for penalties in made.panel.run.record.penalties]
    assert with_tv == [False, False, False, True, True]


def test_every_control_of_a_run_has_a_slider_with_a_label_and_a_tooltip(made: Bench) -> None:
    for recipe in s.recipes().values():
        made.recipe.value = recipe.name
        sliders = made.panel._setup.live.controls
        assert set(sliders) == set(CONTROLS)
        values = {name: slider.value for name, slider in sliders.items()}
        assert values == pytest.approx(vars(recipe.controls()))
        assert all("slider" in type(slider).__name__.lower() for slider in sliders.values())
        controls = [*made.panel._setup.controls.values(), made.recipe, made.several, made.frames]
        assert all(control.description and control.tooltip for control in controls)
    buttons = [made.begin, made.step, made.from_here, made.save, *made.kinds.values()]
    assert all(button.description and button.tooltip for button in buttons)


def test_a_fooling_image_shows_both_pictures_the_change_and_the_predictions(bench, bundled: nv.Network) -> None:
    made = bench(bundled)
    made.recipe.value = "fool"
    assert made.aims.layout.display == "none"
    assert made.to.description == "Turn into"
    made.to.value = "goldfish (1)"
    assert made.panel._setup.values == {"to": 1}
    frame = made.run(steps=40)
    assert frame.to == 1
    assert frame.done
    assert "taken for goldfish" in made.status.status
    assert len(made.pictures.pictures) == 3
    assert all(map(made.shows, (frame.original.image, frame.image, frame.difference()), range(3)))
    assert made.pictures.titles[0].startswith("Before: espresso")
    assert made.pictures.titles[1].startswith("After: goldfish")
    assert made.predictions.value.count("<tr>") == 5
    assert f"{frame.change_l2:.2%}" in made.pictures.caption


@pytest.mark.parametrize(("how", "rate"), [("ascent", 0.1), ("pgd", 0.5), ("fgsm", None)])
def test_each_way_to_fool_has_its_own_numbers(made: Bench, how: str, rate: float | None) -> None:
    made.recipe.value = "fool"
    made.how.value = how
    assert made.bound.disabled == (how == "ascent")
    assert made.steps.disabled == (how == "fgsm")
    made.bound.value = 2
    made.steps.value = min(made.steps.value, 5)
    made.panel.start()
    frame = made.end()
    assert frame.provenance.arguments["how"] == how
    if rate is not None:
        assert frame.provenance.settings["learning_rate"] == rate
    if how != "ascent":
        assert frame.change_linf <= 2


def test_a_seed_is_shown_where_something_is_random_and_comes_only_when_nothing_runs(made: Bench) -> None:
    made.recipe.value = "fool"
    assert made.seed.layout.display == "none"
    made.jitter.value = 4
    assert made.seed.layout.display is None
    made.jitter.value = 0
    assert made.seed.layout.display == "none"
    made.to.value = "goldfish (1)"
    made.steps.value = 100_000
    made.learning_rate.value = 1e-4
    made.click("begin")
    made.jitter.value = 4
    assert made.seed.layout.display == "none", "the controls beside it stay in their places"
    made.panel.stop()
    made.panel.wait(PATIENCE)
    assert made.seed.layout.display is None


# What it is about.


def test_the_objective_follows_the_selection_in_words_until_a_run_starts(made: Bench, toy: nv.Network) -> None:
    made.select(target="bee")
    assert made.said == "Maximize class bee (1)"
    made.select(layer="3", filter=4)
    assert made.said == "Maximize filter 4 of 3"
    assert made.kinds["filter"].value
    made.select(unit=(2, 1))
    assert made.said == "Maximize the unit at row 2, column 1 of filter 4 of 3"
    made.kinds["layer"].value = True
    assert made.said == "Maximize all of 3"
    made.select(layer="0")
    assert made.said == "Maximize all of 0"
    made.select(target=2)
    assert made.said == "Maximize class cat (2)"
    made.start_forever()
    made.select(target=3)
    assert made.said == "Maximize class cat (2)"
    made.panel.stop()
    made.panel.wait(PATIENCE)
    assert made.said == "Maximize class crane (3)"


@pytest.mark.parametrize(
    ("selected", "kind", "subject"),
    [
        ({"target": 1}, "class", "nv.ClassScore(1)"),
        ({"layer": "3", "filter": 2}, "filter", "nv.Channel('3', 2)"),
        ({"layer": "3", "filter": 2, "unit": (1, 3)}, "unit", "nv.Unit('3', 2, 1, 3)"),
        ({"layer": "3", "filter": 2}, "unit", "nv.Unit('3', 2)"),
        ({"layer": "3"}, "layer", "nv.LayerEnergy('3')"),
        ({"target": nv.Channel("0", 1) - 0.5 * nv.ClassScore(2)}, "class", None),
    ],
)
def test_each_kind_of_objective_is_asked_of_the_library(made: Bench, selected, kind, subject) -> None:
    made.select(**selected)
    made.kinds[kind].value = True
    found = made.run(steps=1).provenance.subject
    assert subject is None or found == subject


def test_what_cannot_be_had_is_greyed_out_with_the_reason(bench, toy: nv.Network, mlp: nv.Network) -> None:
    made = bench(toy)
    assert [kind for kind, button in made.kinds.items() if button.disabled] == ["filter", "unit"]
    assert "Choose a filter first" in made.kinds["unit"].tooltip
    made.several.value = "1, 2"
    assert not made.kinds["filter"].disabled
    made = bench(mlp)
    assert [kind for kind, button in made.kinds.items() if not button.disabled] == ["class"]
    assert "no layer with maps" in made.kinds["layer"].tooltip
    assert made.run(steps=2)


def test_exactly_one_kind_is_chosen_whatever_is_clicked(made: Bench) -> None:
    made.select(filter=1)
    for kind in ("layer", "class", "class", "unit"):
        made.kinds[kind].value = not made.kinds[kind].value
        assert [k for k, button in made.kinds.items() if button.value] == [kind]


def test_another_network_changes_what_is_offered(made: Bench, mlp: nv.Network) -> None:
    made.run()
    made.select(network=mlp)
    made.recipe.value = "fool"
    assert made.to.options == ("class 0 (0)", "class 1 (1)", "class 2 (2)", "class 3 (3)")
    made.recipe.value = "feature_visualization"
    assert made.from_here.disabled
    made.panel.restart()
    assert "choose that network again" in made.status.error
    assert made.run().input.shape[2:] == (12, 12)


def test_steps_seed_and_size_are_those_asked_for(made: Bench) -> None:
    frame = made.run(steps=2, seed=7, size="48")
    assert (frame.steps, frame.provenance.seed, frame.image.size) == (2, 7, (40, 48))
    assert made.run("dream", steps=2, size="50", octaves=2).image.size == (50, 33)
    assert (
        made.run("class_model", steps=2, parameterization="pixels").provenance.arguments["parameterization"] == "pixels"
    )
    assert made.run(steps=2, start="picture").provenance.arguments["start"] == "image"


# Side by side.


def test_a_gallery_makes_every_filter_in_one_run(made: Bench, toy: nv.Network) -> None:
    made.select(layer="3")
    made.several.value = "1, 3-5"
    made.kinds["filter"].value = True
    assert made.said == "Maximize filters 1, 3 to 5 of 3"
    frame = made.run(steps=4)
    assert len(made.pictures.pictures) == 4
    assert [title.split(":")[0] for title in made.pictures.titles] == ["filter 1", "filter 3", "filter 4", "filter 5"]
    *_, alone = s.feature_visualization(toy, nv.Channel("3", 4), steps=4)
    assert torch.allclose(frame.input[2], alone.input[0], atol=1e-3)
    assert made.curves._score.y.shape == (4, 5)
    names: dict = {"net": toy}
    exec("\n".join(made.panel.code("'coffee'")), names)
    assert torch.equal(names["frame"].input, frame.rounded.input)
    assert made.pictures.choosable
    made.pictures._handle_custom_msg({"type": "choose", "at": 2}, [])
    assert (made.selection.layer, made.selection.filter) == ("3", 4)


def test_classes_by_name_or_number_stand_side_by_side(made: Bench) -> None:
    made.several.value = "bee, 2, 3-4"
    frame = made.run(steps=2)
    assert frame.provenance.subject == "nv.ClassScore((1, 2, 3, 4))"
    assert made.curves._other.y.shape == (4, 3)
    made.pictures._handle_custom_msg({"type": "choose", "at": 2}, [])
    assert made.selection.filter is None


@pytest.mark.parametrize(
    ("kind", "several", "words"),
    [
        ("filter", "3, x", "'x' is no filter"),
        ("filter", "3, 99", "filters 0 to 5: there is no 99"),
        ("filter", "0-99", "room for 64 pictures, and these are 100"),
        ("class", "wolf", "no class 'wolf'"),
        ("class", "5", "0 to 4"),
        ("layer", "3", "not of whole layers"),
    ],
)
def test_a_list_that_makes_no_sense_gets_a_sentence(made: Bench, kind: str, several: str, words: str) -> None:
    made.select(layer="3", filter=1)
    made.kinds[kind].value = True
    made.several.value = several
    assert words in made.said
    made.panel.start()
    assert words in made.status.error
    assert made.panel.run is None


@pytest.mark.parametrize(
    ("part", "found"),
    [("3", (3,)), (" 20-22 ", (20, 21, 22)), ("22 \u2013 20", (20, 21, 22)), ("x", None), ("-1", None)],
)
def test_numbers_are_read(part: str, found: tuple[int, ...] | None) -> None:
    assert numbers(part) == found


# Earlier frames.


def test_every_frame_can_be_looked_at_and_the_run_goes_on_where_it_was(made: Bench) -> None:
    for _ in range(5):
        made.panel.step()
    last = made.end()
    assert [step for step, _ in made.frames.options] == ["0", "1", "2", "3", "4"]
    assert made.frames.value == 4
    made.frames.value = 1
    made.panel.wait(PATIENCE)
    assert made.pictures.caption.startswith("Step 1:")
    assert "this is step 1" in made.status.status
    assert made.shows(made.panel.run.buffer[1].image)
    made.panel.step()
    assert made.end().step == last.step + 1
    assert made.pictures.caption.startswith("Step 5:")
    assert made.frames.value == 5


def test_a_run_goes_on_from_an_earlier_frame_with_the_settings_of_now(made: Bench, toy: nv.Network) -> None:
    made.select(target=1)
    made.run(steps=6)
    made.frames.value = 3
    made.panel.wait(PATIENCE)
    made.select(target=4)
    made.learning_rate.value = 0.2
    made.steps.value = 4
    made.click("from_here")
    frame = made.end()
    run = made.panel.run
    assert run.buffer.steps == [0, 1, 2, 3, 4, 5, 6, 7]
    assert run.record.steps == run.buffer.steps
    assert run.newest.step == 7
    assert frame.provenance.subject == "nv.ClassScore(4)"
    assert made.pictures.caption.startswith("Step 7: class crane (4)")
    made.frames.value = 2
    made.panel.wait(PATIENCE)
    assert made.pictures.caption.startswith("Step 2: class bee (1)")
    made.frames.value = 7
    made.panel.wait(PATIENCE)
    names: dict = {"net": toy}
    exec("\n".join(made.panel.code("'coffee'")), names)
    assert torch.equal(names["frame"].input, frame.rounded.input)


def test_a_fooling_image_goes_on_counting_from_its_own_original(made: Bench, toy: nv.Network) -> None:
    made.run("fool", steps=3, learning_rate=0.01)
    made.select(image="moon")
    made.panel.restart()
    frame = made.end()
    assert torch.equal(frame.original.input, toy.batch(nv.load_image("coffee")))
    assert made.panel.run.newest.step == 6
    assert made.panel.code("'moon'")[1] == "image = 'coffee'"
    names: dict = {"net": toy}
    exec("\n".join(made.panel.code("'moon'")), names)
    assert torch.equal(names["frame"].input, frame.rounded.input)


@pytest.mark.parametrize("second", list(s.recipes()))
def test_any_recipe_may_go_on_from_the_frame_of_another(made: Bench, toy: nv.Network, second: str) -> None:
    made.select(layer="3")
    made.run(steps=3, size="48")
    made.recipe.value = second
    made.steps.value = 2
    made.panel.restart(2)
    frame = made.end()
    if second != "dream":
        assert made.panel.run.newest.step == 4
    names: dict = {"net": toy}
    exec("\n".join(made.panel.code("'coffee'")), names)
    assert torch.equal(names["frame"].input, frame.rounded.input)


def test_a_gallery_is_not_gone_on_with_as_one_picture(made: Bench) -> None:
    made.several.value = "0-2"
    made.run(steps=2)
    made.several.value = ""
    made.panel.restart()
    assert "shows 3 pictures, and 1 is asked for" in made.status.error
    assert len(made.panel.run.buffer) == 3


def test_what_fails_at_once_leaves_the_frames_before(made: Bench) -> None:
    made.run(steps=4)
    made.recipe.value = "fool"
    made.to.value = "wolf"
    made.panel.restart()
    made.panel.wait(PATIENCE)
    assert "no class 'wolf'" in made.status.error
    assert made.panel.run.buffer.steps == [0, 1, 2, 3, 4]
    made.to.value = ""
    made.panel.restart()
    assert made.end()


def test_a_reel_stays_within_its_budget_and_keeps_the_first_and_the_last(toy: nv.Network) -> None:
    reel = s.FrameBuffer(budget=10 * 3 * 24 * 20)
    frames = {}
    for frame in s.synthesize(toy, 0, steps=100):
        frames[frame.step] = frame
        reel.add(frame.step, frame)
        assert len(reel) <= 10
        assert reel.steps[0] == 0
        assert reel.steps[-1] == frame.step
    assert reel.steps == [*range(0, 100, 16), 100]
    for step, kept in zip(reel.steps, reel, strict=True):
        assert torch.equal(kept.input, frames[step].rounded.input)
        assert np.array_equal(kept.array, frames[step].array)
        assert kept.scores == frames[step].scores
    reel.cut(2)
    assert reel.steps == [0, 16, 32]


# Its numbers.


def test_the_curves_show_score_probabilities_gradient_and_penalties(made: Bench, toy: nv.Network) -> None:
    made.select(target=3)
    made.run(steps=5, l2=1e-3)
    run, curves = made.panel.run, made.curves
    frames = [*s.feature_visualization(toy, 3, steps=5, l2=1e-3)]
    assert list(curves._score.x) == [0, 1, 2, 3, 4, 5]
    assert list(curves._score.y[0]) == pytest.approx([f.score for f in frames], rel=1e-4)
    shown = curves._other.y
    assert shown.shape == (5, 6)
    assert shown[0] == pytest.approx([float(f.probabilities[0, 3]) for f in frames], abs=2e-3)
    assert "crane" in curves._other.legend.value
    curves.kind.value = "Gradient"
    assert list(curves._other.y[0]) == pytest.approx([f.gradient_norm for f in frames], rel=1e-4)
    curves.kind.value = "Penalties"
    assert list(curves._other.y[0]) == pytest.approx([f.penalties["l2"] for f in frames], rel=1e-3)
    made.select(layer="0", filter=1)
    made.run(steps=3, l2=0)
    assert "No regularizer" in curves._other.legend.value
    curves.kind.value = "Probability"
    assert "no probabilities" in curves._other.legend.value
    assert run is not made.panel.run


def test_a_long_run_keeps_a_bounded_number_of_points(toy: nv.Network) -> None:
    history, frame = RunRecord(), next(s.synthesize(toy, 0))
    for step in range(5000):
        history.add(step, frame)
        assert len(history.steps) <= POINTS + 1
    assert history.steps[0] == 0
    assert history.steps[-1] == 4999
    assert len({len(column) for column in history._columns()}) == 1
    curves = Curves()
    curves.draw(history, ["one"], toy.classes, [])
    assert len(curves._score.x) == len(history.steps)


def test_drawing_takes_no_more_than_its_share_of_the_time(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr("nbcnnviz.session.pace.time.perf_counter", lambda: now[0])
    pace = Pace(30, 0.05)
    while now[0] < 10:
        if pace.due:
            with pace.drawing():
                now[0] += 0.004
        now[0] += 0.001
    assert pace.seconds / now[0] <= 0.05 * (10 + SLACK) / 10 + 0.001
    assert pace.drawn / now[0] >= 12


def test_a_drawing_that_took_long_and_irregular_steps_cost_no_frames(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr("nbcnnviz.session.pace.time.perf_counter", lambda: now[0])
    pace = Pace(20, 0.1)
    while now[0] < 10:
        now[0] += 0.03
        if pace.due:
            with pace.drawing():
                now[0] += 0.02 if pace.drawn % 20 == 5 else 0.002
    assert pace.drawn / now[0] >= 19


def test_the_newest_frame_is_on_screen_when_it_ends_however_fast_it_was(made: Bench) -> None:
    for steps in (1, 7, 40):
        frame = made.run(steps=steps)
        assert made.pictures.caption.startswith(f"Step {steps}:")
        assert made.shows(frame.image)
        assert made.curves._score.x[-1] == steps


def views(made: Bench, **seen: bool | None) -> None:
    for view, value in seen.items():
        made.status._handle_custom_msg({"type": "visibility", "view": view, "visible": value}, [])


def test_a_run_that_nobody_sees_goes_on_but_draws_nothing_until_someone_looks(made: Bench) -> None:
    views(made, first=True, second=True)
    made.start_forever()
    made.until(lambda: made.pictures.caption != "")
    views(made, first=False, second=True)  # who is still there says so when another is hidden
    at = made.panel.run.task.made
    shown = made.pictures.caption
    made.until(lambda: made.pictures.caption != shown and made.panel.run.task.made > at)  # the second still looks
    views(made, second=False)
    made.until(lambda: made.panel.run.task.made > at + 3)
    shown, drawn = made.pictures.caption, made.panel._screen.shown
    at = made.panel.run.task.made
    made.until(lambda: made.panel.run.task.made > at + 20)
    made.panel.stop()
    made.panel.wait(PATIENCE)
    assert (made.pictures.caption, made.panel._screen.shown) == (shown, drawn)
    views(made, first=True)
    assert made.pictures.caption.startswith(f"Step {made.panel.run.newest.step}:")
    assert made.shows(made.panel.run.newest.frame.image)


def test_views_that_are_closed_are_no_longer_asked(made: Bench) -> None:
    views(made, first=True, second=False)
    assert made.status.visible
    views(made, first=None)
    assert not made.status.visible
    views(made, second=None)
    assert made.status.visible  # nobody has said anything


def test_a_picture_in_passing_travels_lighter_than_the_one_that_stays(made: Bench) -> None:
    made.start_forever()
    made.until(lambda: made.pictures.caption != "")
    made.until(lambda: made.panel._screen.in_passing)
    made.panel.stop()
    made.panel.wait(PATIENCE)
    assert not made.panel._screen.in_passing
    assert made.pictures.pictures[0] == encoded(made.panel.run.newest.frame.image, STAYING)


def test_it_says_how_fast_it_is_and_how_long_it_will_take(made: Bench) -> None:
    made.start_forever()
    made.until(lambda: "steps/s" in made.status.status)
    assert "left" in made.status.status
    assert made.status.running
    assert 0 < made.status.step < made.status.steps == FOREVER


# Files.


def downloaded(made: Bench, ending: str) -> tuple[str, bytes]:
    """The file that a button hands to the browser: as bytes in a message, and nothing of it in what is saved."""
    before = sum(len(str(part.get_state())) for part in parts_of(made.panel.widget))
    sent: list = []
    made.pictures.send = lambda message, buffers: sent.append((message, buffers))
    made.format.value = ending
    made.click("save")
    made.panel.wait(PATIENCE)
    assert made.status.error == ""
    ((message, buffers),) = sent
    assert message["type"] == "file"
    assert sum(len(str(part.get_state())) for part in parts_of(made.panel.widget)) <= before + 2000
    return message["name"], buffers[0]


def test_the_run_is_offered_as_picture_film_array_and_code(made: Bench, toy: nv.Network) -> None:
    frame = made.run(steps=4)
    name, content = downloaded(made, "png")
    assert name == "feature_visualization.png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), frame.array)
    made.frames.value = 2
    made.panel.wait(PATIENCE)
    _, content = downloaded(made, "png")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), made.panel.run.buffer[2].array)
    for film in ("gif", "webp"):
        assert Image.open(io.BytesIO(downloaded(made, film)[1])).n_frames == 5
    arrays = np.load(io.BytesIO(downloaded(made, "npz")[1]))
    assert arrays["frames"].shape == (5, 24, 20, 3)
    assert np.array_equal(arrays["frames"][-1], frame.array)
    assert arrays["steps"].tolist() == [0, 1, 2, 3, 4]
    assert arrays["scores"].shape == (5, 1)
    _, code = downloaded(made, "py")
    assert "feature_visualization(net, nv.ClassScore(" in code.decode()
    assert "feature_visualization(net, nv.ClassScore(" in made.code.value


def test_the_code_alone_makes_the_frame_again(bench, bundled: nv.Network, tmp_path: Path) -> None:
    made = bench(bundled, "moon")
    frame = made.run("invert", steps=2)
    made.panel.save(tmp_path / "run.py")
    names: dict = {}
    exec((tmp_path / "run.py").read_text(), names)
    assert torch.allclose(names["frame"].input, frame.rounded.input, atol=0.05)


def test_a_film_without_its_encoder_gets_a_sentence(made: Bench, monkeypatch) -> None:
    made.run(steps=3)
    monkeypatch.setattr("nbcnnviz.synthesis.export.find_spec", lambda name: None)
    made.format.value = "mp4"
    made.click("save")
    made.panel.wait(PATIENCE)
    assert "pip install imageio-ffmpeg" in made.status.error
    assert made.status.status.startswith("Done")


def test_saving_does_not_end_the_run_that_goes_on(made: Bench) -> None:
    made.start_forever()
    made.click("save")
    made.until(lambda: not made.panel._writing.live)
    before = made.panel.run.task.made
    made.until(lambda: made.panel.run.task.made > before + 3)
    assert made.panel.run.task.state == "running"


def test_the_panel_writes_files_by_their_ending(made: Bench, tmp_path: Path) -> None:
    with pytest.raises(nv.NbcnnvizError, match="start a run"):
        made.panel.save(tmp_path / "early.png")
    assert made.panel.code("'coffee'") == []
    made.run(steps=3)
    for ending in ("png", "jpg", "gif", "webp", "npz", "py"):
        made.panel.save(tmp_path / f"run.{ending}")
        assert (tmp_path / f"run.{ending}").stat().st_size > 100
    with pytest.raises(ExportError, match=r"not as '\.avi'"):
        made.panel.save(tmp_path / "run.avi")


# What goes wrong.


def test_an_explosion_is_told_and_the_last_good_frame_stays(made: Bench) -> None:
    made.recipe.value = "synthesize"
    made.parameterization.value, made.optimiser.value = "pixels", "ascent"
    made.learning_rate.value, made.l2.value = 100.0, 0.5
    made.steps.value = 200
    made.panel.start()
    made.panel.wait(PATIENCE)
    assert re.search(r"at step \d+: lower learning_rate \(now 100\) or l2 \(now 0.5\)", made.status.error)
    run = made.panel.run
    assert run.task.state == "failed"
    assert not made.status.running
    assert made.pictures.caption.startswith(f"Step {run.newest.step}:")
    assert bool(run.newest.frame.input.isfinite().all())
    made.learning_rate.value, made.l2.value = 0.01, 0.0
    assert made.run(steps=2)


@pytest.mark.parametrize(
    ("selected", "settings", "words"),
    [
        ({"layer": "3"}, {"size": "8"}, "A picture of 8 x"),
        ({"target": lambda trace: trace.nothing}, {}, "nothing"),
        ({"target": lambda trace: trace.scores.sum() * torch.nan}, {}, "on the very first picture"),
        ({"target": nv.Channel("3", 99)}, {}, "there is no 99"),
        ({"target": nv.Unit("3", 1, 99, 0)}, {}, "there is no unit"),
    ],
)
def test_what_cannot_be_made_gets_a_sentence(bench, selected, settings, words) -> None:
    small = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(4, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())  # fmt: skip
    made = bench(nv.Network(small.eval(), size=32))
    made.select(**selected)
    for name, value in settings.items():
        getattr(made, name).value = value
    if "layer" in selected:
        made.kinds["layer"].value = True
    made.panel.start()
    made.panel.wait(PATIENCE)
    assert words in made.status.error
    assert "Traceback" not in made.status.error
    assert not made.begin.disabled


def test_a_picture_that_cannot_be_drawn_is_told_and_ends_the_run(made: Bench, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the page is gone")

    monkeypatch.setattr(made.pictures, "show", fail)
    made.steps.value = 5
    made.panel.start()
    made.panel.wait(PATIENCE)
    assert "the page is gone" in made.status.error
    assert not made.status.running


# What else goes on, and what is left behind.


def test_a_run_makes_way_for_the_explorer(made: Bench, monkeypatch) -> None:
    monkeypatch.setattr("nbcnnviz.session.tasks.PATIENCE", PATIENCE)
    go_on, began = threading.Event(), threading.Event()

    def answer(snapshot, trace):
        began.set()
        assert go_on.wait(PATIENCE)
        yield None

    try:
        made.start_forever()
        made.panel.answer = answer
        made.session.ask()
        assert began.wait(PATIENCE)
        time.sleep(0.05)
        before = made.panel.run.task.made
        time.sleep(0.3)
        assert made.panel.run.task.made <= before + 1
        go_on.set()
        made.until(lambda: made.panel.run.task.made > before + 10)
        made.panel.stop()
        made.panel.wait(PATIENCE)
    finally:
        go_on.set()


def test_a_change_of_the_selection_does_not_stop_a_run(made: Bench) -> None:
    made.start_forever()
    for number in range(20):
        made.select(target=number % 5, image=("coffee", "moon")[number % 2])
    before = made.panel.run.task.made
    made.until(lambda: made.panel.run.task.made > before + 3)
    assert made.panel.run.task.state == "running"


def test_a_new_run_ends_the_one_before(made: Bench) -> None:
    made.start_forever()
    first = made.panel.run
    made.panel.start()
    made.until(lambda: made.panel.run.task.made > 2)
    assert made.panel.run is not first
    assert first.task.state == "stopped"
    assert not first.task._thread.is_alive()


def test_the_users_network_is_left_as_it_was(bench) -> None:
    module = toys.Stateful().train()
    made = bench(nv.Network(module, size=16), target=1)
    before = photograph(module)
    made.start_forever()
    made.panel.stop()
    made.panel.wait(PATIENCE)
    assert photograph(module) == before


def tensors() -> int:
    return sum(issubclass(type(o), Tensor) for o in gc.get_objects())


def test_twenty_panels_and_runs_leave_no_thread_widget_or_tensor(toy: nv.Network) -> None:
    def once(number: int) -> weakref.ref:
        made = Bench(toy, target=1)
        made.several.value = "0-4" if number % 2 else ""
        made.start_forever()
        (made.panel.stop, made.panel.pause, lambda: None)[number % 3]()
        gone = weakref.ref(made.panel)
        made.close()
        for part in parts_of(made.panel.widget):
            part.close()
        return gone

    once(0)
    gc.collect()
    before = threading.active_count(), len(_instances), tensors()
    gone = [once(number) for number in range(20)]
    sys.last_value = None
    gc.collect()
    assert (threading.active_count(), len(_instances)) == before[:2]
    assert tensors() <= before[2]
    assert [ref() for ref in gone] == [None] * 20


def test_twenty_runs_of_one_panel_leave_no_thread_or_tensor(made: Bench) -> None:
    def once() -> tuple[int, int]:
        for _ in range(3):
            made.panel.step()
        made.panel.wait(PATIENCE)
        made.panel.stop()
        made.panel.wait(PATIENCE)
        assert made.panel.run.task.state == "stopped"
        gc.collect()
        return threading.active_count(), tensors()

    once()
    before = once()
    for _ in range(20):
        after = once()
    assert after == before


def test_the_subject_is_the_selection_of_now(toy: nv.Network) -> None:
    selection = Selection(toy, "coffee")
    assert subject_of(selection.snapshot).natural == "class"
    selection.filter = 2
    assert subject_of(selection.snapshot).natural == "filter"
    selection.unit = (0, 0)
    assert subject_of(selection.snapshot).natural == "unit"


def test_a_wrong_number_is_told_until_a_right_one_comes(made: Bench) -> None:
    made.start_forever()
    made.panel._moved("learning_rate", float("nan"))
    assert "finite number" in made.status.error
    made.panel._moved("learning_rate", 0.2)
    assert made.status.error == ""
    assert made.panel.error is None
    assert made.panel.run.specification.controls.learning_rate == 0.2


# A new recipe, in one file, with nothing else told of it; and what controls do.


@pytest.fixture
def waves() -> Iterator[str]:
    """The sketch of a recipe, entered by importing its file."""
    sys.modules.pop("tests.sketches.waves", None)
    importlib.import_module("tests.sketches.waves")
    yield "waves_sketch"
    del _RECIPES["waves_sketch"]


def test_a_new_recipe_has_its_controls_and_its_code(bench, toy: nv.Network, waves: str) -> None:
    made = bench(toy, target=1)
    assert ("Waves, sketched", waves) in made.recipe.options
    made.recipe.value = waves
    controls = made.panel._setup.controls
    assert [type(controls[n]).__name__ for n in ("steps", "strength", "upright", "rival")] == [
        "BoundedIntText", "BoundedFloatText", "Checkbox", "Combobox",
    ]  # fmt: skip
    assert "How strong the noise is" in controls["strength"].tooltip
    assert list(controls["rival"].options) == list(class_labels(toy))
    assert made.status.status.startswith("4 steps")
    made.run(steps=4)
    assert made.panel.code("'coffee'")[-2] == "frames = nv.waves_sketch(net, 1)"
    made.rival.value = "cat (2)"
    frame = made.run(steps=3, strength=0.25, upright=True)
    assert frame.provenance.arguments == {"strength": 0.25, "upright": True, "rival": 2, "steps": 3}
    assert made.panel.code("'coffee'")[-2] == (
        "frames = nv.waves_sketch(net, 1, steps=3, strength=0.25, upright=True, rival=2)"
    )
    made.strength.value = 0.5
    assert made.status.status.startswith("3 steps, about ")
    assert "strength" not in made.panel._setup.values


@pytest.mark.parametrize("name", list(s.recipes()))
def test_the_code_names_only_what_is_not_as_the_recipe_has_it(made: Bench, name: str) -> None:
    made.recipe.value = name
    made.panel.step()
    call = re.search(r"nv\.\w+\(.*\)", "\n".join(made.panel.code("'coffee'")) if made.end() else "")[0]
    assert set(re.findall(r"(\w+)=", call)) <= {"to"}


def test_settings_of_a_recipe_that_are_off_by_default_are_named_when_on_and_those_on_when_off(made: Bench) -> None:
    frame = made.run("deep_visualization", steps=1, clip=False)
    assert "clip=False" in frame.provenance.code
    frame = made.run("feature_visualization", steps=1, clip=True)
    assert "clip=True" in frame.provenance.code


def test_another_recipe_asks_for_what_suits_it(made: Bench, toy: nv.Network) -> None:
    made.select(target=1)
    made.recipe.value = "dream"
    assert made.said == f"Maximize all of {made.selection.layer}"
    made.recipe.value = "feature_visualization"
    assert made.said == "Maximize class bee (1)"
    made.recipe.value = "invert"
    assert made.said == f"Match the output of {made.selection.layer}"
    assert made.choice.layout.display == "none"


def test_another_network_asks_for_what_it_has(made: Bench, mlp: nv.Network) -> None:
    made.select(layer="3", filter=2)
    made.several.value = "1, 3"
    made.kinds["layer"].value = True
    made.select(network=mlp)
    assert made.several.value == ""
    assert made.said == "Maximize the picture's top class"
    made.recipe.value = "fool"
    made.to.value = "class 2 (2)"
    made.select(network=toys_network())
    assert made.to.value == ""
    assert made.panel._setup.values == {}


def toys_network() -> nv.Network:
    return nv.Network(toys.classic().eval(), size=(24, 20))


def test_before_the_first_run_it_says_what_will_be_there(made: Bench) -> None:
    assert "Press Start" in made.panel._screen._nothing.value
    assert made.curves.widget not in made.panel._screen.widget.children
    made.run(steps=1)
    assert made.curves.widget in made.panel._screen.widget.children
    assert made.panel._screen._nothing not in made.panel._screen.widget.children


def test_the_photograph_that_a_run_started_from_is_beside_it(bench, toy: nv.Network) -> None:
    made = bench(toy, layer="3")
    frame = made.run("dream", steps=1)
    assert made.pictures.titles == ["Before", "Dream"]
    before = ImageOps.fit(made.selection.image.convert("RGB"), frame.image.size)
    assert made.shows(before, 0)
    assert made.shows(frame.image, 1)


def test_several_pictures_of_one_objective_have_titles_and_curves(made: Bench) -> None:
    made.select(target=1)
    made.controls["pictures"].value = 3
    made.run(steps=2)
    assert [title.split(":")[0] for title in made.pictures.titles] == [f"class bee (1), {i}" for i in (1, 2, 3)]
    assert made.curves._score.y.shape == (3, 3)


def test_a_size_that_is_none_is_refused_with_a_sentence(made: Bench) -> None:
    made.size.value = "large"
    made.panel.start()
    assert "size is a height and width, or one number for both, not 'large'" in made.status.error
    made.size.value = "40 x 32"
    assert made.run(steps=1).image.size == (32, 40)
