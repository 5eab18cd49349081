"""A session driven through random actions, without a widget: it always answers what is selected, or says what is wrong."""

from __future__ import annotations

import random
import threading

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from torch import nn

import nbcnnviz as nv
from nbcnnviz.attribution.method import _METHODS, method
from nbcnnviz.core.options import option
from nbcnnviz.session import Selection, Session, Snapshot
from nbcnnviz.session import loading as session_loading
from tests.session.conftest import PATIENCE

CLASSES = 4
PICTURES = ("chelsea", "coffee", "moon")
METHODS = ("saliency", "gradient", "grad_cam", "steps")
LAYERS = {"small": ("conv", "pool"), "large": ("first", "second")}


class Small(nn.Module):
    """A network that fails when it is told to."""

    broken = False

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv2d(3, 4, 3), nn.AvgPool2d(2), nn.Linear(4, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.broken:
            raise RuntimeError("told to fail")
        return self.fc(self.pool(self.conv(x).relu()).mean((2, 3)))


class Large(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.fc = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 5, 3), nn.Linear(5, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.second(self.first(x).relu()).relu().mean((2, 3)))


def networks() -> dict[str, nv.Network]:
    return {
        "small": nv.Network(Small(), size=12, name="small"),
        "large": nv.Network(Large(), size=12, name="large"),
    }


def steps(trace, target, layer, *, count: int = option(4, low=1)):
    """The gradient, in so many steps."""
    values = trace.gradient(target)
    for step in range(1, count + 1):
        yield nv.Attribution(values * step / count, target, layer, trace, step=step, steps=count)


class Actions:
    """What is done to a session, and what must hold of it then."""

    def begin(self) -> None:
        method("Steps", family="gradients", cost="count B", replace=True)(steps)
        self.threads = set(threading.enumerate())
        self.networks = networks()
        self.failing: set[str] = set()  # names whose load fails
        self.load_network, session_loading.load_network = session_loading.load_network, self.load
        self.session = Session(Selection(self.networks["small"], "chelsea", target=0))
        self.kept: list = []
        self.closed = False

    def load(self, name: str, progress) -> nv.Network:
        for done in range(3):
            progress(done, 3)
        if name in self.failing:
            raise nv.WeightsUnavailableError(f"no {name} today")
        return self.networks[name]

    def end(self) -> None:
        session_loading.load_network = self.load_network
        self.session.close()
        left = set(threading.enumerate()) - self.threads
        for thread in left:
            thread.join(PATIENCE)
        assert not {thread for thread in left if thread.is_alive()}, "a thread is left"
        assert not self.session.tasks.kept
        _METHODS.pop("steps", None)

    def select(self, name: str, value: object) -> None:
        self.session.attempt(lambda: setattr(self.session.selection, name, value))

    def train(self) -> None:
        """As an optimiser's step does it: the weights are written to."""
        with torch.no_grad():
            for parameter in self.session.selection.network.module.parameters():
                parameter.add_(0.01)

    def keep(self) -> None:
        """Begin a task that goes on whatever is asked."""

        def count(task):
            yield from range(10**9)

        self.kept = [task for task in self.kept if task.live][-2:]
        self.kept.append(self.session.tasks.start(count, "counting", policy="keep", frames=3))

    def answers(self) -> None:
        """The last state is answered, or what went wrong is said."""
        session = self.session
        session.wait(PATIENCE)
        task, snapshot = session.task, session.selection.snapshot
        assert session.loading is None
        assert snapshot.layer is None or snapshot.layer in snapshot.network.layers
        if self.closed:
            assert not session.tasks.busy
            assert not session.tasks.kept
            return
        assert all(task.live for task in self.kept[-1:]), "nobody stopped it"
        if task is None or session.error is not None or task.state != "done":
            stopped = task is None or task.state in ("stopped", "paused")
            assert stopped or session.error is not None, task.state
            return
        result = session.result
        assert result is not None
        assert shown(snapshot) == (result.method, result.trace.network, described(snapshot, result))
        assert result.step == result.steps
        if getattr(snapshot.network.module, "broken", False):
            return  # it was answered before, and could not be now
        expected = nv.attribute(
            snapshot.network, snapshot.picture, method=snapshot.method, target=snapshot.target,
            layer=snapshot.layer if nv.methods()[snapshot.method].needs_layer else None, **snapshot.options,
        )  # fmt: skip
        assert result.values.shape == expected.values.shape
        assert torch.allclose(result.values, expected.values, atol=1e-5), (
            "of weights, or of a picture, that are no more"
        )


def shown(snapshot: Snapshot) -> tuple:
    return snapshot.method, snapshot.network, True


def described(snapshot: Snapshot, result: nv.Attribution) -> bool:
    asked = snapshot.target
    if asked is None:
        return True
    return result.target == (nv.ClassScore(asked) if isinstance(asked, int) else asked)


class SessionMachine(RuleBasedStateMachine):
    """Actions in any order, that find out whether the session keeps its word."""

    @initialize()
    def begin(self) -> None:
        self.actions = Actions()
        self.actions.begin()

    def teardown(self) -> None:
        self.actions.end()

    @rule(index=st.integers(-1, CLASSES))
    def select_class(self, index: int) -> None:
        self.actions.select("target", index)

    @rule(name=st.sampled_from(METHODS))
    def select_method(self, name: str) -> None:
        self.actions.select("method", name)

    @rule(count=st.integers(0, 6))
    def select_options(self, count: int) -> None:
        self.actions.select("options", {"count": count})

    @rule(layer=st.sampled_from(sorted({*LAYERS["small"], *LAYERS["large"]})))
    def select_layer(self, layer: str) -> None:
        self.actions.select("layer", layer)

    @rule(index=st.integers(0, 5))
    def select_filter(self, index: int) -> None:
        self.actions.select("filter", index)

    @rule(place=st.tuples(st.integers(0, 9), st.integers(0, 9)))
    def select_unit(self, place: tuple[int, int]) -> None:
        self.actions.select("unit", place)

    @rule(name=st.sampled_from(PICTURES))
    def select_picture(self, name: str) -> None:
        self.actions.select("image", name)

    @rule(name=st.sampled_from(sorted(LAYERS)))
    def select_network(self, name: str) -> None:
        self.actions.select("network", self.actions.networks[name])

    @rule(name=st.sampled_from(sorted(LAYERS)), fails=st.booleans())
    def load(self, name: str, fails: bool) -> None:
        self.actions.failing = {name} if fails else set()
        self.actions.session.load(name)

    @rule()
    def undo(self) -> None:
        self.actions.session.attempt(self.actions.session.history.undo)

    @rule()
    def redo(self) -> None:
        self.actions.session.attempt(self.actions.session.history.redo)

    @rule()
    def stop(self) -> None:
        self.actions.session.stop()

    @rule()
    def pause(self) -> None:
        if self.actions.session.task is not None:
            self.actions.session.task.pause()

    @rule()
    def step(self) -> None:
        if self.actions.session.task is not None:
            self.actions.session.task.step()

    @rule()
    def resume(self) -> None:
        if self.actions.session.task is not None:
            self.actions.session.task.resume()

    @rule()
    def explain(self) -> None:
        self.actions.session.explain()

    @rule()
    def train(self) -> None:
        self.actions.session.wait(PATIENCE)  # else the weights change as they are compared
        self.actions.train()
        self.actions.session.explain()

    @rule(broken=st.booleans())
    def break_network(self, broken: bool) -> None:
        self.actions.networks["small"].module.broken = broken
        self.actions.select("image", PICTURES[broken])

    @rule()
    def keep(self) -> None:
        self.actions.keep()

    @rule()
    def close(self) -> None:
        self.actions.session.close()
        self.actions.closed, self.actions.kept = True, []

    @invariant()
    def keeps_its_word(self) -> None:
        if hasattr(self, "actions"):
            self.actions.answers()


SessionMachine.TestCase.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
test_any_sequence_of_actions_is_answered = SessionMachine.TestCase


RULES = (
    "select_class", "select_method", "select_options", "select_layer", "select_filter", "select_unit", "select_picture",
    "select_network", "load", "undo", "redo", "stop", "pause", "step", "resume", "explain", "train", "break_network", "keep",
)  # fmt: skip


@pytest.mark.parametrize("waits", [True, False], ids=["each answered", "all at once"])
def test_a_thousand_random_actions_are_answered_and_no_thread_is_left(waits: bool) -> None:
    """After each, the last state is answered or its error shown; and all the same if nobody waits for any."""
    chance, machine = random.Random(0), SessionMachine()
    machine.begin()
    given = {
        "select_class": lambda: {"index": chance.randint(-1, CLASSES)},
        "select_method": lambda: {"name": chance.choice(METHODS)},
        "select_options": lambda: {"count": chance.randint(0, 6)},
        "select_layer": lambda: {"layer": chance.choice(LAYERS[chance.choice(sorted(LAYERS))])},
        "select_filter": lambda: {"index": chance.randint(0, 5)},
        "select_unit": lambda: {"place": (chance.randint(0, 9), chance.randint(0, 9))},
        "select_picture": lambda: {"name": chance.choice(PICTURES)},
        "select_network": lambda: {"name": chance.choice(sorted(LAYERS))},
        "load": lambda: {"name": chance.choice(sorted(LAYERS)), "fails": chance.random() < 0.3},
        "break_network": lambda: {"broken": chance.random() < 0.5},
    }
    try:
        for number in range(1000):
            name = chance.choice(RULES)
            getattr(machine, name)(**given.get(name, dict)())
            if waits or number % 100 == 99:
                machine.keeps_its_word()
        machine.break_network(broken=False)
        machine.select_method("saliency")
        machine.keeps_its_word()
        assert machine.actions.session.error is None
        assert machine.actions.session.task.state == "done"
    finally:
        machine.teardown()
