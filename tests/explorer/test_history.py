from __future__ import annotations

import pytest

import nbcnnviz as nv
from nbcnnviz.explorer import Selection
from nbcnnviz.explorer.history import History
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
    selection.observe(lambda change: heard.append((selection.layer, selection.filter)) if selection.settled else None)
    history.undo()
    assert heard == [("0", 1)]


def test_a_closed_history_is_empty_and_listens_no_more(selection: Selection) -> None:
    history = History(selection)
    selection.target = 1
    history.close()
    selection.target = 2
    assert not history.can_undo
