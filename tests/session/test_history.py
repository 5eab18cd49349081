from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import nbcnnviz as nv
from nbcnnviz.session import Selection
from nbcnnviz.session.history import History
from tests import toys


@pytest.fixture
def selection(toy: nv.Network) -> Selection:
    return Selection(toy, "chelsea")


def state(selection: Selection) -> dict:
    return {name: getattr(selection, name) for name in selection.trait_names()}


CHANGES = [
    {"target": 2},
    {"layer": "0"},
    {"filter": 1},
    {"unit": (2, 3)},
    {"method": "saliency"},
    {"image": "coffee"},
    {"target": 1},
    {"filter": 0},
    {"network": "another"},
    {"target": 3},
]


def test_every_step_is_undone_and_done_again(selection: Selection) -> None:
    history = History(selection)
    another = nv.Network(toys.classic(), size=(24, 20), name="another")
    states = [state(selection)]
    for change in CHANGES:
        for name, value in change.items():
            setattr(selection, name, another if value == "another" else value)
        states.append(state(selection))
    for earlier in reversed(states[:-1]):
        assert history.can_undo
        history.undo()
        assert state(selection) == earlier
    assert not history.can_undo
    history.undo()
    assert state(selection) == states[0]
    for later in states[1:]:
        history.redo()
        assert state(selection) == later
    assert not history.can_redo


def test_what_a_change_brings_with_it_is_one_step(selection: Selection) -> None:
    history = History(selection)
    selection.layer, selection.filter = "3", 1
    selection.unit = (0, 0)
    selection.target = 1  # which lets go of filter and unit
    history.undo()
    assert (selection.filter, selection.unit, selection.target) == (1, (0, 0), None)


def test_after_an_undo_another_change_forgets_what_was_undone(selection: Selection) -> None:
    history = History(selection)
    selection.target = 1
    history.undo()
    selection.target = 2
    assert (history.can_undo, history.can_redo) == (True, False)
    history.undo()
    assert selection.target is None


def test_observers_hear_of_an_undo_once_all_of_it_is_done(selection: Selection) -> None:
    history = History(selection)
    selection.layer, selection.filter = "0", 1
    selection.target = 1
    heard = []
    selection.observe(
        lambda change: heard.append((selection.layer, selection.filter)) if not selection.changing else None
    )
    history.undo()
    assert heard == [("0", 1)]


def test_a_closed_history_is_empty_and_listens_no_more(selection: Selection) -> None:
    history = History(selection)
    selection.target = 1
    history.close()
    selection.target = 2
    assert not history.can_undo


def test_a_history_is_bounded_in_memory(toy: nv.Network) -> None:
    """Of many large pictures and networks, only as many are kept as there is room for; the last step back always is."""
    selection = Selection(toy, "chelsea")
    history = History(selection, budget=3 * 100 * 100 * 3)
    pictures = []
    for number in range(10):
        selection.image = np.full((100, 100, 3), number, np.uint8)
        pictures.append(weakref.ref(selection.image))
    gc.collect()
    assert [number for number, picture in enumerate(pictures) if picture() is not None] == [6, 7, 8, 9]
    for number in (8, 7, 6):
        history.undo()
        assert selection.image.getpixel((0, 0)) == (number,) * 3
    assert not history.can_undo


def test_a_history_shares_what_its_states_have_in_common(toy: nv.Network) -> None:
    selection = Selection(toy, "chelsea")
    history = History(selection, budget=1)
    for number in range(150):
        selection.target = number % 5
    for _ in range(149):
        history.undo()
    assert history.can_undo
    assert selection.target == 0


def test_a_history_forgets_networks_beyond_its_budget_but_the_last(toy: nv.Network) -> None:
    selection = Selection(toy, "chelsea")
    history = History(selection, budget=1)
    for number in range(4):
        selection.network = nv.Network(toys.classic(), size=(24, 20), name=f"number {number}")
    history.undo()
    assert selection.network.name == "number 2"
    assert not history.can_undo
