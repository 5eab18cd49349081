from __future__ import annotations

import base64
import gc
import io
import re
import sys
import threading
import time
import weakref
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from ipywidgets.widgets.widget import _instances
from PIL import Image
from torch import nn

import nbcnnviz as nv
from nbcnnviz.attribution.method import _METHODS, Method
from nbcnnviz.core.network import Network
from nbcnnviz.explorer import Explorer, Selection, UnknownPanelError, app
from nbcnnviz.explorer.controls import MORE
from nbcnnviz.session import Tasks, view
from nbcnnviz.session import loading as session_loading
from tests import toys
from tests.explorer.conftest import PATIENCE
from tests.session.test_selection import as_file

MEASURED = r"\d (ms|s|min) on cpu$"  # what the line of status says of an answer


def answers(ex: Explorer) -> nv.Attribution:
    """The result once the explorer is idle; what went wrong, if anything did, is raised."""
    ex.wait(PATIENCE)
    if ex.error:
        raise ex.error
    assert ex._status.error == ""
    assert ex.result
    return ex.result


def same(result: nv.Attribution, other: nv.Attribution) -> bool:
    return torch.equal(result.values, other.values)


# What a user of the API has.


def test_the_result_is_what_the_selection_asks_for(explore, toy: nv.Network) -> None:
    ex = explore(toy)
    trace = toy.trace("chelsea")
    assert same(answers(ex), nv.attribute(trace, method="grad_cam"))
    for method in nv.methods():
        ex.selection.method = method
        ex.selection.options = toys.few(method)
        ex.selection.target = "bee"
        assert same(answers(ex), nv.attribute(trace, method=method, target=1, **toys.few(method)))
    ex.selection.layer, ex.selection.filter = "0", 3
    ex.selection.method = "saliency"
    assert same(answers(ex), nv.attribute(trace, method="saliency", target=nv.Channel("0", 3)))
    ex.selection.image = "coffee"
    assert same(answers(ex), nv.attribute(toy.trace("coffee"), method="saliency", target=nv.Channel("0", 3)))
    assert ex._sides.predictions.table.top == toy.trace("coffee").top(8)


def test_a_first_question_may_be_given(explore, toy: nv.Network) -> None:
    ex = explore(toy, np.zeros((5, 5, 3)), method="gradient", target=2, layer="3", filter=1, panels=["explain"])
    assert ex.result.target == nv.Channel("3", 1)
    assert ex.result.method == "gradient"
    assert list(ex._panels) == ["explain"]
    assert ex.children[0].children[-2] is ex._tabs.children[0], "no tabs for one"


@pytest.mark.parametrize("panels", ["predictions", ("predictions",), []])
def test_panels_that_are_not_shown_are_not_there(explore, toy: nv.Network, panels) -> None:
    ex = explore(toy, panels=panels)
    shown = [ex._status, ex._sides.predictions.widget] if panels else []
    assert list(ex.children[0].children) == shown
    assert ex._sides.predictions.table.top


def test_a_module_or_a_name_is_a_network(explore) -> None:
    ex = explore(toys.classic(), "coffee")
    assert ex.selection.network.name == "Sequential"
    assert answers(ex)
    ex = explore("efficientnet_lite0", "coffee")
    assert "espresso" in ex.panels["explain"].widget.caption


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"panels": ["explian"]}, UnknownPanelError, "no panel 'explian'. Nearest: explain"),
        ({"method": "gradcam"}, nv.UnknownMethodError, "Nearest: grad_cam"),
        ({"layer": "layer4"}, nv.UnknownLayerError, "no layer 'layer4'"),
        ({"image": "chelsee"}, nv.ImageError, "nearest sample: chelsea"),
        ({"image": 3}, nv.ImageError, "no picture"),
        ({"target": "wolf"}, nv.UnknownClassError, "no class 'wolf'"),
        ({"target": 5}, nv.UnknownClassError, "0 to 4"),
        ({"filter": 99}, nv.FilterRangeError, "there is no 99"),
        ({"network": "resnet51"}, nv.UnknownNetworkError, "Nearest: resnet"),
        ({"network": 3}, nv.UnknownNetworkError, r"nbcnnviz.Network\(module\)"),
        ({"network": nn.Identity()}, nv.NetworkError, "a classifier of pictures returns scores"),
    ],
)
def test_what_does_not_exist_is_refused_by_name(toy: nv.Network, arguments, error, says) -> None:
    before = set(threading.enumerate())
    with pytest.raises(error, match=says):
        nv.explore(**{"network": toy, **arguments})
    assert set(threading.enumerate()) == before
    gc.collect()  # what was half made is taken away without complaint


def test_a_device_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(nv.DeviceUnavailableError, match="no device 'cuda:99' here; there is cpu"):
        nv.explore(nv.load_network(device="cuda:99"))


def run(code: str) -> nv.Attribution:
    names: dict = {}
    exec(code, names)
    return names["result"]


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"method": "saliency", "target": "tabby"},
        {"method": "grad_cam", "layer": "blocks.4", "target": 281},
        {"method": "cam"},
        {"layer": "blocks.2", "filter": 5},
        {"method": "gradient", "target": nv.Unit("blocks.4", 1, 2, 3)},
        {"target": nv.ClassScore((281,)), "image": "coffee"},
    ],
)
def test_the_code_makes_what_is_on_screen(explore, bundled: nv.Network, question) -> None:
    ex = explore(bundled, **question)
    assert "..." not in ex.code()
    assert same(run(ex.code()), answers(ex))


def test_code_stands_in_for_what_only_the_user_has(explore, toy: nv.Network, tmp_path) -> None:
    ex = explore(toy, np.zeros((4, 4, 3)), target=lambda trace: trace.scores.sum())
    lines = ex.code().splitlines()
    assert [line.partition(" = ...")[0] for line in lines if "..." in line] == ["net", "image", "target"]
    compile(ex.code(), "", "exec")
    ex.selection.image = as_file("holiday.png")
    assert "image = ..." in ex.code(), "an upload is on the reader's computer"
    path = tmp_path / "here.png"
    path.write_bytes(as_file().getvalue())
    ex.selection.image, ex.selection.target = path, 1
    assert ex.code().endswith(f"nv.attribute(net, {str(path)!r}, method='grad_cam', target=1, layer='5')")
    ex.selection.method = "saliency"
    assert ex.code().endswith("method='saliency', target=1)")


def test_code_loads_the_weights_that_were_loaded(explore, tmp_path) -> None:
    untrained = nv.load_network("squeezenet1_1", weights=None)
    assert "net = ..." in explore(untrained).code()
    torch.save(untrained.module.state_dict(), tmp_path / "mine.pth")
    ex = explore(nv.load_network("squeezenet1_1", tmp_path / "mine.pth"))
    assert same(run(ex.code()), answers(ex))


def test_options_are_in_the_code(explore, toy: nv.Network, sampled: str) -> None:
    ex = explore(toy, method=sampled)
    ex.selection.options = {"samples": 3}
    assert ex.code().endswith(", samples=3)")


def test_the_map_is_saved_as_a_picture_or_as_numbers(explore, toy: nv.Network, tmp_path) -> None:
    ex = explore(toy)
    ex.save(tmp_path / "map.png")
    assert Image.open(tmp_path / "map.png").size == (20, 24)
    frame = ex.panels["explain"].widget
    frame.opacity, frame.threshold, frame.colours = 1.0, 0.5, "viridis"
    ex.save(tmp_path / "other.png")
    expected = ex.result.overlay(opacity=1.0, threshold=0.5, colours="viridis")
    np.testing.assert_array_equal(Image.open(tmp_path / "other.png"), expected)
    assert (np.asarray(expected) != Image.open(tmp_path / "map.png")).any()
    ex.save(tmp_path / "map.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "map.npy"), ex.result.values[0])


def test_nothing_can_be_saved_before_there_is_a_map(monkeypatch, explore, toy: nv.Network, tmp_path) -> None:
    with gate(monkeypatch) as opened:
        ex = nv.explore(toy)
        with pytest.raises(nv.NbcnnvizError, match=r"wait for the explorer, with ex\.wait\(\)"):
            ex.save(tmp_path / "map.png")
        with pytest.raises(TimeoutError, match=r"still computing after 0\.01 s"):
            ex.wait(0.01)
        opened.set()
    assert ex.wait(PATIENCE) is ex
    assert ex.result
    ex.close()


@contextmanager
def gate(monkeypatch):
    """Hold every forward pass until the event is set."""
    opened, trace = threading.Event(), Network.trace

    def held(*args, **kwargs):
        assert opened.wait(PATIENCE)
        return trace(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Network, "trace", held)
        yield opened


def test_its_text_is_a_line(explore, toy: nv.Network) -> None:
    assert repr(explore(toy)) == "<Explorer: grad_cam of toy, chelsea>"


# Jobs.


@pytest.fixture
def slow(monkeypatch):
    """A method of a hundred frames, each let go by the test."""

    class Slow:
        def __init__(self) -> None:
            self.ticks, self.closed, self.shown = threading.Semaphore(0), threading.Event(), threading.Semaphore(0)

        def run(self, trace, target, layer):
            try:
                for step in range(1, 101):
                    assert self.ticks.acquire(timeout=PATIENCE)
                    yield nv.Attribution(
                        torch.full((1, 1, 2, 2), float(step)), "slow", target, layer, trace, None, step, 100
                    )
                    self.shown.release()
            finally:
                self.closed.set()

        def go(self, frames: int) -> None:
            """Let some frames be made, and wait until the last of them was handed on."""
            self.ticks.release(frames)
            for _ in range(frames):
                assert self.shown.acquire(timeout=PATIENCE)

    slow = Slow()
    known = vars(nv.methods()["saliency"])
    monkeypatch.setitem(_METHODS, "slow", Method(**{**known, "name": "slow", "title": "Slow", "run": slow.run}))
    monkeypatch.setattr("nbcnnviz.session.tasks.FRAMES_A_SECOND", 1e9)
    return slow


def frame_of(ex: Explorer):
    return ex.panels["explain"].widget


def wait_until(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.002)


def test_a_long_run_tells_how_far_it_is_and_is_stopped_between_two_frames(explore, toy, slow) -> None:
    ex = explore(toy)
    ex.selection.method = "slow"
    slow.go(5)
    assert ex.result.step == 5
    assert (ex._status.step, ex._status.steps) == (5, 100)
    wait_until(lambda: ex._status.running)
    ex._status._handle_custom_msg({"type": "stop"}, [])
    slow.ticks.release()
    ex.wait(PATIENCE)
    assert slow.closed.is_set()
    assert ex.result.step == 5, "what is on screen stays"
    assert ex._status.status == "Stopped"
    assert not ex._status.running


def test_a_newer_question_replaces_a_run_and_says_nothing_of_a_stop(explore, toy, slow) -> None:
    ex = explore(toy)
    statuses: list[str] = []
    ex._status.observe(lambda change: statuses.append(change.new), "status")
    ex.selection.method = "slow"
    slow.go(2)
    ex.selection.method = "saliency"
    slow.ticks.release()
    assert answers(ex).method == "saliency"
    assert slow.closed.is_set()
    assert "Stopped" not in statuses
    assert re.search(MEASURED, statuses[-1])
    assert not ex._status.running


def test_a_run_that_ends_says_how_long_it_took(explore, toy, slow) -> None:
    ex = explore(toy)
    ex.selection.method = "slow"
    slow.go(100)
    assert answers(ex).step == 100
    assert re.search(MEASURED, ex._status.status)
    assert ex._status.step == ex._status.steps == 1


def test_what_is_on_screen_is_stale_until_the_first_frame_of_a_slow_answer_and_after_an_error(
    explore, toy, slow
) -> None:
    ex = explore(toy)
    assert not ex._status.stale
    ex.selection.method = "slow"
    end = time.monotonic() + PATIENCE
    while not ex._status.stale:
        assert time.monotonic() < end
        time.sleep(0.01)
    slow.go(1)
    assert not ex._status.stale
    ex.stop()
    slow.ticks.release(2)
    ex.wait(PATIENCE)
    ex.selection.method, ex.selection.layer = "grad_cam", next(reversed(toy.layers))
    ex.wait(PATIENCE)
    assert ex.error
    assert ex._status.stale


def test_an_error_stays_to_be_read_while_a_run_goes_on(explore, toy, slow) -> None:
    ex = explore(toy)
    ex.selection.method = "slow"
    slow.go(1)
    ex._sides.map._handle_custom_msg({"type": "choose", "layer": "nowhere"}, [])
    slow.go(3)
    assert "no layer 'nowhere'" in ex._status.error
    ex._sides.predictions.widget._handle_custom_msg({"type": "choose", "index": 1}, [])
    assert ex._status.error == ""
    ex.stop()
    slow.ticks.release(2)
    ex.wait(PATIENCE)


def test_of_many_questions_at_once_the_last_is_answered(explore, toy: nv.Network, monkeypatch) -> None:
    ex = explore(toy)
    asked: list = []
    stream = view.attribute.stream

    def record(trace, **question):
        asked.append(question["target"])
        return stream(trace, **question)

    monkeypatch.setattr(view.attribute, "stream", record)
    with gate(monkeypatch) as opened:
        ex.selection.image = "coffee"
        for number in range(100):
            ex.selection.target = number % 4
        ex.selection.target = 4
        opened.set()
        assert answers(ex).target == nv.ClassScore(4)
    assert len(asked) <= 2


def test_questions_asked_on_many_threads_end_on_the_selection_as_it_is(explore, toy: nv.Network) -> None:
    ex = explore(toy)

    def ask(method: str) -> None:
        for target in (0, 1, 2):
            ex.selection.target = target
            ex.selection.method = method

    threads = [threading.Thread(target=ask, args=(method,)) for method in ("saliency", "gradient", "grad_cam", "cam")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    result = answers(ex)
    assert (result.method, result.target.index) == (ex.selection.method, ex.selection.target)
    assert ex._controls.method.value == ex.selection.method


def test_each_question_is_asked_once(explore, toy: nv.Network) -> None:
    ex = explore(toy, filter=1)
    requests: list = []
    start = ex.session.tasks.start
    ex.session.tasks.start = lambda *args, **options: requests.append(args) or start(*args, **options)
    for number, (name, value) in enumerate(
        [("target", 1), ("filter", 5), ("layer", "0"), ("method", "saliency"), ("image", "coffee")], 1
    ):
        setattr(ex.selection, name, value)
        assert len(requests) == number
    ex.selection.network = nv.Network(toys.Tiny(), size=24)
    assert len(requests) == 6
    answers(ex)


def test_one_trace_answers_every_question_about_a_picture(explore, toy: nv.Network, monkeypatch) -> None:
    ex = explore(toy)
    passes: list = []
    trace = Network.trace
    monkeypatch.setattr(Network, "trace", lambda *args, **kwargs: passes.append(1) or trace(*args, **kwargs))
    for name, value in (("target", 1), ("method", "saliency"), ("filter", 2), ("layer", "0")):
        setattr(ex.selection, name, value)
        answers(ex)
    assert passes == []
    ex.selection.image = "coffee"
    answers(ex)
    assert passes == [1]


def test_explorers_do_not_disturb_each_other(explore, toy: nv.Network) -> None:
    first, second = explore(toy, "chelsea"), explore(toy, "coffee", method="saliency")
    shown = second.result, second.panels["explain"].widget.values, second.panels["explain"].widget.caption
    first.selection.method, first.selection.target = "gradient", 3
    assert answers(first).method == "gradient"
    assert (
        second.wait(PATIENCE).result,
        second.panels["explain"].widget.values,
        second.panels["explain"].widget.caption,
    ) == shown
    first.close()
    second.selection.target = 1
    assert answers(second).target == nv.ClassScore(1)


def test_explorers_may_share_a_selection(toy: nv.Network) -> None:
    selection = Selection(toy, "chelsea")
    first, second = Explorer(selection), Explorer(selection)
    first.wait(PATIENCE).close()
    selection.method = "saliency"
    assert answers(second).method == "saliency"
    assert first.result.method == "grad_cam"
    second.close()


# Networks that change, and that fail.


def train_step(module: nn.Module) -> None:
    optimiser = torch.optim.SGD(module.parameters(), lr=1.0)
    module(torch.randn(4, 3, 24, 20)).square().sum().backward()
    optimiser.step()
    optimiser.zero_grad()


@pytest.mark.parametrize("method", ["grad_cam", "cam", "saliency"])
def test_a_network_that_was_trained_on_is_looked_at_anew(explore, method: str) -> None:
    network = nv.Network(toys.classic(), size=(24, 20))
    ex = explore(network, method="gradient", target=0)
    before = ex.result.trace.scores
    train_step(network.module)
    ex.selection.method = method
    result = answers(ex)
    assert same(result, nv.attribute(network, "chelsea", method=method, target=0))
    assert not torch.equal(result.trace.scores, before)
    assert ex._sides.predictions.table.top == result.trace.top(8), "the predictions are the new ones too"


def test_other_parameters_in_the_place_of_the_old_are_seen_too(explore) -> None:
    network = nv.Network(toys.classic(), size=(24, 20))
    ex = explore(network)
    network.module[8] = nn.Linear(8, 5)
    ex.selection.target = 2
    assert same(answers(ex), nv.attribute(network, "chelsea", target=2))


def test_weights_that_change_between_the_passes_are_looked_at_once_more(explore, monkeypatch) -> None:
    network = nv.Network(toys.classic(), size=(24, 20))
    ex = explore(network)
    stream, trained = view.attribute.stream, []

    def train_first(trace, **question):
        if not trained:
            trained.append(train_step(network.module))
        return stream(trace, **question)

    monkeypatch.setattr(view.attribute, "stream", train_first)
    ex.selection.method = "saliency"
    assert same(answers(ex), nv.attribute(network, "chelsea", method="saliency"))
    assert ex._sides.predictions.table.top == ex.result.trace.top(8)


class Moody(nn.Module):
    """A classifier that does as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc, self.mood = nn.Conv2d(3, 4, 3), nn.Linear(4, 3), None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.conv(x)
        if self.mood is not None:
            maps = self.mood(maps)
        return self.fc(maps.mean((2, 3)))


def fail_with(error: BaseException):
    def mood(_: torch.Tensor) -> torch.Tensor:
        raise error

    return mood


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (ValueError("the user wrote this\nand more lines below"), "the user wrote this."),
        (RuntimeError(""), "RuntimeError."),
        (SystemExit(1), "Something unexpected happened (SystemExit): 1"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 TiB"), "There is not enough memory"),
        (MemoryError(), ""),
    ],
)
def test_an_error_of_the_users_network_is_a_sentence_and_the_explorer_goes_on(explore, failure, says: str) -> None:
    module = Moody()
    ex = explore(nv.Network(module, size=12))
    module.mood = fail_with(failure)
    ex.selection.image = "coffee"
    ex.wait(PATIENCE)
    assert says in ex._status.error
    assert ex._status.error
    assert "\n" not in ex._status.error
    assert "Traceback" not in ex._status.error
    assert failure in (ex.error, ex.error.__cause__)
    assert not ex._status.running
    module.mood = None
    ex.selection.image = "rocket"
    assert answers(ex)
    assert ex.error is None


def test_a_target_of_the_users_that_fails_is_a_sentence(explore, toy: nv.Network) -> None:
    ex = explore(toy)
    ex.selection.target = lambda trace: trace.nothing
    ex.wait(PATIENCE)
    assert ex._status.error.startswith("Something unexpected happened (AttributeError): 'Trace' object has no")
    ex.selection.target = lambda trace: trace.scores
    ex.wait(PATIENCE)
    assert ex._status.error == str(ex.error)
    assert "A target is a scalar" in ex._status.error
    ex.selection.target = 1
    assert answers(ex)


def test_a_method_without_meaning_here_says_so(explore) -> None:
    ex = explore(nv.Network(toys.Branching(), size=12))
    shown = ex.result
    ex.selection.layer = "conv1"
    answers(ex)
    shown = ex.result
    ex.selection.method = "cam"
    ex.wait(PATIENCE)
    assert isinstance(ex.error, nv.MethodNotApplicableError)
    assert ex.result is shown, "what is on screen stays"


def test_warming_up_says_nothing_of_its_own(explore) -> None:
    """The scores of a network of fixed features have no gradient; its CAM needs none."""
    module = Moody()
    module.mood = torch.Tensor.detach
    ex = explore(nv.Network(module, size=12), method="cam", layer="conv")
    assert "CAM of" in frame_of(ex).caption
    answers(ex)


def test_activations_that_are_no_numbers_are_told_of(explore) -> None:
    module = Moody()
    ex = explore(nv.Network(module, size=12))
    module.mood = lambda maps: maps * torch.nan
    ex.selection.image = "coffee"
    answers(ex)
    assert "values are NaN or infinite" in frame_of(ex).caption
    module.mood = None
    ex.selection.image = "rocket"
    answers(ex)
    assert "NaN" not in frame_of(ex).caption


def test_a_network_without_maps_is_explained_at_its_input(explore, mlp: nv.Network) -> None:
    ex = explore(mlp)
    assert ex.error is None, "it opens with a method that works"
    assert ex.selection.method == "saliency"
    assert answers(ex).values.shape == (1, 1, 12, 12)
    ex.selection.method = "grad_cam"
    ex.wait(PATIENCE)
    assert isinstance(ex.error, nv.MethodNotApplicableError)
    assert "has none" in ex._status.error


def test_a_network_without_maps_that_is_chosen_later_is_explained_at_its_input(explore, toy, mlp) -> None:
    ex = explore(toy)
    ex.selection.network = mlp
    assert answers(ex).method == "saliency"


def test_another_network_of_the_same_classes_and_layers_is_asked_the_same(explore) -> None:
    trained, untrained = (nv.Network(toys.classic(), size=12, name="twin") for _ in range(2))
    ex = explore(trained, target=3, layer="0", filter=2)
    ex.selection.network = untrained
    ex.wait(PATIENCE)
    assert (ex.selection.target, ex.selection.layer, ex.selection.filter) == (3, "0", 2)
    ex.selection.network = nv.Network(toys.classic(classes=4), size=12)
    assert (ex.selection.target, ex.selection.filter) == (None, None)
    ex.selection.network = nv.Network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), size=12)
    assert (ex.selection.target, ex.selection.layer) == (None, "0")


# Loading from the menu.


@pytest.fixture
def loading(monkeypatch, toy: nv.Network):
    """A `load_network` that is let go on by the test, and then gives the network or the error that it wants."""

    class Loading:
        begun, go_on = threading.Semaphore(0), threading.Semaphore(0)
        outcome: object = None

        def __call__(self, name: str, progress) -> nv.Network:
            self.begun.release()
            for done in range(1000):
                assert self.go_on.acquire(timeout=PATIENCE)
                progress(done, 1000)
                if self.outcome is not None:
                    break
            if isinstance(self.outcome, Exception):
                raise self.outcome
            return self.outcome

    loading = Loading()
    monkeypatch.setattr(session_loading, "load_network", loading)
    return loading


def start_loading(ex: Explorer, loading, name: str = "resnet18") -> None:
    ex._controls.network.value = MORE
    ex._controls.network.value = name
    assert loading.begun.acquire(timeout=PATIENCE)
    loading.go_on.release()
    wait_until(lambda: ex._status.status.startswith(f"Downloading {name}"))


def loaded(name: str = "resnet18") -> nv.Network:
    network = nv.Network(toys.Tiny(), size=24, name=name)
    network.origin = f"load_network({name!r})"
    return network


def test_a_network_chosen_in_the_menu_is_loaded_and_explained(explore, toy: nv.Network, loading) -> None:
    ex = explore(toy)
    start_loading(ex, loading)
    assert ex._status.running
    loading.outcome = loaded()
    loading.go_on.release()
    assert answers(ex).trace.network is ex.selection.network is loading.outcome
    assert ex._controls.network.value == "resnet18"
    assert re.search(MEASURED, ex._status.status)
    ex._controls.network.value = "toy"
    assert answers(ex).trace.network is toy


def test_a_question_asked_while_loading_is_answered_by_what_is_loaded(explore, toy: nv.Network, loading) -> None:
    ex = explore(toy)
    start_loading(ex, loading)
    ex._pictures.widget._handle_custom_msg({"type": "sample", "name": "coffee"}, [])
    assert ex._controls.network.value == "resnet18", "the menu keeps what was chosen"
    loading.outcome = loaded()
    loading.go_on.release()
    assert same(answers(ex), nv.attribute(loading.outcome, "coffee"))


def test_loading_that_is_stopped_answers_what_was_asked_meanwhile(explore, toy: nv.Network, loading) -> None:
    ex = explore(toy)
    start_loading(ex, loading)
    ex.selection.method = "saliency"
    ex.stop()
    loading.go_on.release()
    assert answers(ex).method == "saliency"
    assert ex.selection.network is toy
    assert ex._controls.network.value == "toy"


def test_loading_that_fails_says_why_and_answers_what_was_asked_meanwhile(explore, toy: nv.Network, loading) -> None:
    ex = explore(toy)
    start_loading(ex, loading)
    ex.selection.method = "saliency"
    loading.outcome = nv.WeightsUnavailableError("out of reach")
    loading.go_on.release()
    ex.wait(PATIENCE)
    assert ex._status.error == "out of reach"
    assert ex.result.method == "saliency"
    assert ex._controls.network.value == "toy"
    ex.selection.method = "grad_cam"
    assert answers(ex)


def test_choosing_the_network_in_force_gives_up_what_is_loading(explore, toy: nv.Network, loading) -> None:
    ex = explore(toy)
    start_loading(ex, loading)
    ex._controls.network.value = "toy"
    loading.go_on.release()
    assert answers(ex).trace.network is toy
    assert ex._controls.network.value == "toy"


def test_another_network_chosen_while_one_is_loading_takes_its_place(explore, toy: nv.Network, loading) -> None:
    ex = explore(toy)
    start_loading(ex, loading)
    ex._controls.network.value = "resnet34"
    loading.go_on.release()
    assert loading.begun.acquire(timeout=PATIENCE)
    assert ex._controls.network.value == "resnet34"
    loading.outcome = loaded("resnet34")
    loading.go_on.release()
    assert answers(ex).trace.network.name == "resnet34"


def test_a_network_set_in_python_takes_the_place_of_what_is_loading(explore, toy: nv.Network, loading) -> None:
    ex = explore(toy)
    start_loading(ex, loading)
    ex.selection.network = own = nv.Network(toys.Tiny(), size=24)
    loading.go_on.release()
    assert answers(ex).trace.network is own
    assert ex._controls.network.value == "Tiny"


# What is left when it is closed, and while it lives.


def workers() -> int:
    return sum(thread.name == "nbcnnviz" for thread in threading.enumerate())


def test_twenty_explorers_opened_and_closed_leave_no_thread_and_no_widget(toy: nv.Network) -> None:
    nv.explore(toy).wait(PATIENCE).close()
    threads, widgets = workers(), set(_instances)
    for number in range(20):
        ex = nv.explore(toy)
        if number % 2:
            ex.wait(PATIENCE)
        ex.close()
    assert workers() == threads
    assert set(_instances) == widgets


@pytest.mark.parametrize("panels", [[name] for name in app.PANELS] + [list(app.PANELS)], ids=lambda p: "+".join(p)[:20])
def test_every_panel_is_closed_with_the_explorer(toy: nv.Network, panels: list[str]) -> None:
    before = set(_instances)
    ex = nv.explore(toy, layer="0", panels=panels).wait(PATIENCE)
    for name in set(panels) & set(app.TABS):
        ex.panel = name
        ex.wait(PATIENCE)
        assert ex.error is None
    ex.close()
    assert set(_instances) == before


def test_a_closed_explorer_is_let_go_and_closing_twice_is_no_error(toy: nv.Network) -> None:
    selection = Selection(toy, "chelsea")
    ex = Explorer(selection).wait(PATIENCE)
    ex.close()
    ex.close()
    selection.method = "saliency"
    gone, trace = weakref.ref(ex), weakref.ref(ex.result.trace)
    del ex
    # The thread of its timer may be about to end.
    wait_until(lambda: gc.collect() >= 0 and gone() is trace() is None)


def test_closing_stops_a_run(explore, toy: nv.Network, slow) -> None:
    ex = explore(toy)
    ex.selection.method = "slow"
    slow.go(1)
    threading.Timer(0.01, slow.ticks.release).start()
    ex.close()
    assert slow.closed.is_set()


@pytest.mark.parametrize("fails", [False, True], ids=["", "after an error"])
def test_the_last_trace_is_let_go_before_the_next_is_made(explore, monkeypatch, fails: bool) -> None:
    module = Moody()
    network = nv.Network(module, size=12)
    ex = explore(network, target=1)
    ex.selection.method = "saliency"
    answers(ex)
    if fails:
        ex.selection.target = lambda trace: trace.nothing
        ex.wait(PATIENCE)
        assert ex.error
    last = weakref.ref(ex.session.tracer._last[-1])
    alive: list = []
    trace = Network.trace

    def look(*args, **kwargs):
        alive.append(last() is not None)
        return trace(*args, **kwargs)

    monkeypatch.setattr(Network, "trace", look)
    gc.disable()  # a cycle would hold it until some later collection
    try:
        sys.last_value = None
        ex.selection.image = "coffee"
        ex.wait(PATIENCE)
        assert alive == [False]
        last = weakref.ref(ex.session.tracer._last[-1])
        train_step(module)
        ex.selection.target = 2
        ex.wait(PATIENCE)
        assert alive == [False, False]
    finally:
        gc.enable()


def test_a_stale_trace_is_let_go_before_the_next_is_made(explore, monkeypatch) -> None:
    network = nv.Network(toys.classic(), size=(24, 20))
    ex = explore(network)
    last = weakref.ref(ex.session.tracer._last[-1])
    alive: list = []
    trace, stream = Network.trace, view.attribute.stream

    def look(*args, **kwargs):
        alive.append(last() is not None)
        return trace(*args, **kwargs)

    def train_first(trace, **question):
        if not alive:
            train_step(network.module)
        return stream(trace, **question)

    monkeypatch.setattr(Network, "trace", look)
    monkeypatch.setattr(view.attribute, "stream", train_first)
    gc.disable()
    try:
        ex.selection.method = "saliency"
        assert answers(ex)
        assert alive == [False]
    finally:
        gc.enable()


# A notebook without its kernel.


def test_a_picture_is_saved_beside_the_widget(explore, toy: nv.Network) -> None:
    bundle = explore(toy)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    preview = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert preview.size == (2 * 20 + 8, 24)
    np.testing.assert_array_equal(preview.crop((0, 0, 20, 24)), toy.trace("chelsea").pictures[0])


def test_in_jupyter_the_picture_is_an_output_of_its_own_which_the_widget_knows(
    explore, toy: nv.Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs: list[dict[str, str]] = []
    monkeypatch.setattr(app, "publish_display_data", outputs.append)
    ex, other = explore(toy), explore(toy, panels="layers")
    ex._ipython_display_()
    widget, still = outputs
    assert "application/vnd.jupyter.widget-view+json" in widget
    assert "image/png" not in widget
    assert f'class="nbv-snapshot nbv-snapshot-{ex._status.snapshot}"' in still["text/html"]
    assert still["image/png"] in still["text/html"]
    assert f'alt="{ex.frame.caption}, toy, chelsea"' in still["text/html"]
    assert ex._status.snapshot
    assert ex._status.snapshot != other._status.snapshot
    other._ipython_display_()
    assert len(outputs) == 3, "there is no picture of a layer map"


def test_marimo_is_shown_the_frame_of_the_map(explore, toy: nv.Network) -> None:
    ex = explore(toy)
    assert ex._display_() is ex.frame is ex.panels["explain"].widget
    without = explore(toy, panels="features")
    assert without.frame is None
    assert without._display_() == repr(without)


def test_the_widget_is_shown_without_a_picture_when_there_is_none(explore, toy: nv.Network) -> None:
    for panels in ("predictions", "layers"):
        bundle = explore(toy, panels=panels)._repr_mimebundle_()
        assert "application/vnd.jupyter.widget-view+json" in bundle
        assert "image/png" not in bundle


# What belongs to a task ends with it.


def test_while_a_method_streams_the_status_says_what_it_does(explore, toy: nv.Network, slow) -> None:
    ex = explore(toy)
    assert re.search(MEASURED, ex._status.status)
    ex.selection.method = "slow"
    slow.go(24)
    assert ex._status.status.startswith("Computing: 24 of 100")
    slow.go(1)
    assert re.search(r"25 of 100, \d+ s left", ex._status.status)
    assert ex._status.pausable
    assert not ex._status.paused


def test_a_run_is_paused_and_goes_on_from_the_status_line(explore, toy: nv.Network, slow) -> None:
    ex = explore(toy)
    ex.selection.method = "slow"
    slow.go(2)
    ex._status._handle_custom_msg({"type": "pause"}, [])
    slow.ticks.release()
    ex.wait(PATIENCE)
    assert ex._status.paused
    assert ex._status.status == f"Paused at {ex.result.step} of 100"
    ex._status._handle_custom_msg({"type": "pause"}, [])
    slow.go(1)
    assert not ex._status.paused
    ex._status._handle_custom_msg({"type": "stop"}, [])
    slow.ticks.release()
    ex.wait(PATIENCE)
    assert ex._status.status == "Stopped"
    assert not ex._status.pausable


def test_a_network_chosen_while_a_pass_runs_is_given_up_by_stop_and_the_next_question_is_answered(
    explore, toy: nv.Network, slow, loading
) -> None:
    ex = explore(toy)
    ex.selection.method = "slow"
    slow.go(1)
    ex._controls.network.value = MORE
    ex._controls.network.value = "resnet18"
    ex._status._handle_custom_msg({"type": "stop"}, [])
    assert ex._controls.network.value == "toy"
    slow.ticks.release()
    ex.wait(PATIENCE)
    ex._controls.method.value = "saliency"
    assert answers(ex).method == "saliency"


def test_an_error_does_not_outlive_its_panel(explore, toy: nv.Network) -> None:
    ex = explore(toy, layer="2")  # a rectifier
    ex.panel = "weights"
    ex.wait(PATIENCE)
    assert "has no weights" in ex._status.error
    ex.panel = "explain"
    assert ex._status.error == ""
    answers(ex)


def test_an_explorer_closed_within_a_long_step_of_a_synthesis_is_closed(toy: nv.Network, monkeypatch) -> None:
    """The step outlasts what the thread is waited for."""
    monkeypatch.setattr(Tasks.close, "__defaults__", (0.01,))
    module, before = toys.classic(), set(_instances)
    begun, go_on = threading.Event(), threading.Event()
    ex = nv.explore(nv.Network(module, size=(24, 20))).wait(PATIENCE)
    ex.panel = "synthesize"
    ex.wait(PATIENCE)
    panel = ex.panels["synthesize"]

    def target(trace):
        begun.set()
        assert go_on.wait(PATIENCE)
        return trace.scores[:, 0].sum()

    ex.selection.target = target
    ex.wait(PATIENCE)
    panel.start()
    assert begun.wait(PATIENCE)
    task = panel.run.task
    ex.close()
    assert set(_instances) == before
    assert task.live
    go_on.set()
    assert task.wait(PATIENCE)
    assert task.state == "stopped"


def test_waiting_within_what_is_waited_for_is_an_error_of_ours(explore, toy: nv.Network, loading) -> None:
    ex = explore(toy)
    found: list = []

    def observer(change) -> None:
        try:
            ex.wait(PATIENCE)
        except nv.NbcnnvizError as error:
            found.append(str(error))

    ex.selection.observe(observer, "network")
    start_loading(ex, loading)
    loading.outcome = loaded()
    loading.go_on.release()
    assert answers(ex).trace.network is loading.outcome
    assert len(found) == 1
    assert "wait() was called by what it would wait for" in found[0]


def test_a_map_that_goes_while_it_is_saved_is_saved(explore, toy: nv.Network, monkeypatch, tmp_path) -> None:
    """Another picture is asked for meanwhile: the panel's result is None from one moment to the next."""
    ex = explore(toy)
    panel = ex.panels["explain"]
    found = iter([panel.result])
    monkeypatch.setattr(type(panel), "result", property(lambda self: next(found, None)))
    panel.save(tmp_path / "map.npz")
    assert np.load(tmp_path / "map.npz")["values"].shape[-2:] == tuple(panel.widget.shape)


def test_a_rank_correlation_holds_up_nothing_that_is_shown(explore, toy: nv.Network, slow, monkeypatch) -> None:
    """It is made once, of the last frame, when that is on screen."""
    ex = explore(toy)
    ex.panels["explain"].pin()
    shown: list = []
    likeness = type(ex.panels["explain"].pinned).likeness

    def record(pinned, values):
        shown.append((ex.result.step, ex.session.lock._is_owned()))
        return likeness(pinned, values)

    monkeypatch.setattr(type(ex.panels["explain"].pinned), "likeness", record)
    ex.selection.method = "slow"
    slow.go(100)
    ex.wait(PATIENCE)
    assert shown == [(100, False)]
