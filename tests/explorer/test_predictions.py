from __future__ import annotations

import pytest
import torch
from torch import nn

import nbcnnviz as nv
from nbcnnviz.explorer.panels.predictions import _BAR, _CHOSEN, PredictionsPanel


class Fixed(nn.Module):
    """Gives the scores it is made of, whatever it looks at."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1)
        self.register_buffer("scores", torch.tensor(scores))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scores + 0 * self.conv(x).mean((2, 3))


def trace_of(scores: list[float], classes: list[str] | None = None) -> nv.Trace:
    return nv.Network(Fixed(scores), size=4, classes=classes).trace(torch.zeros(1, 3, 4, 4))


class Panel(PredictionsPanel):
    """The panel with what was chosen in it."""

    def __init__(self) -> None:
        self.chosen: list[int] = []
        super().__init__(self.chosen.append)

    def click(self, event: dict) -> None:
        self._bars._handle_custom_msgs(None, {"event": "element_click", **event})

    @property
    def labels(self) -> list[str]:
        return list(self._bars.x)

    @property
    def marked(self) -> list[int]:
        return [i for i, colour in enumerate(self._bars.colors) if colour == _CHOSEN]


def test_the_top_classes_are_shown_best_first() -> None:
    panel = Panel()
    trace = trace_of([float(i) for i in range(12)], [f"name {i}" for i in range(12)])
    panel.show(trace)
    assert [label.rpartition(" ")[0] for label in panel.labels] == [f"name {i}" for i in range(11, 3, -1)]
    assert list(panel._bars.y) == pytest.approx([p for _, _, p in trace.top(8)])
    assert panel.labels[0].endswith(" 63%")
    assert panel.labels[-1].endswith(" <1%")


def test_a_network_of_fewer_classes_has_fewer_bars() -> None:
    panel = Panel()
    panel.show(trace_of([0.0, 0.0, 0.0]))
    assert len(panel.labels) == 3
    panel.show(trace_of([5.0]))
    assert panel.labels == ["positive 99%", "negative <1%"]  # a single logit has two sides


@pytest.mark.parametrize(
    "names",
    [
        ["crane", "crane", "crane"],
        ["a name that is much too long for a bar"] * 3,
        ["a name that is much too long, first", "a name that is much too long, second", "short"],
        ["crane", "crane", "crane 1"],
    ],
)
def test_every_bar_has_a_label_of_its_own(names: list[str]) -> None:
    """A scale of names would lay two bars of one name over each other."""
    panel = Panel()
    panel.show(trace_of([1.0, 1.0, 1.0], names))
    assert len(set(panel.labels)) == 3
    assert max(map(len, panel.labels)) < 25


def test_scores_that_are_no_numbers_are_shown_as_such() -> None:
    panel = Panel()
    panel.show(trace_of([torch.nan, 1.0]))
    assert all(label.endswith("nan%") for label in panel.labels)


def test_a_click_chooses_the_class_of_the_bar() -> None:
    panel = Panel()
    panel.show(trace_of([1.0, 5.0, 3.0]))
    for index in range(3):
        panel.click({"data": {"index": index}})
    assert panel.chosen == [1, 2, 0]


@pytest.mark.parametrize(
    "event", [{}, {"data": None}, {"data": {}}, *({"data": {"index": i}} for i in (None, "1", 9, -1, 1.0))]
)
def test_an_event_that_names_no_bar_is_ignored(event: dict) -> None:
    panel = Panel()
    panel._clicked(None, event)
    panel.show(trace_of([1.0, 5.0, 3.0]))
    panel._clicked(None, event)
    assert panel.chosen == []


def test_the_bar_of_the_class_explained_has_its_own_colour() -> None:
    panel = Panel()
    panel.show(trace_of([1.0, 5.0, 3.0]))
    assert panel.marked == []
    panel.mark(2)
    assert panel.marked == [1]
    assert set(panel._bars.colors) == {_BAR, _CHOSEN}
    panel.mark(None)
    assert panel.marked == []


def test_the_mark_stays_with_its_class_when_the_order_changes() -> None:
    panel = Panel()
    panel.show(trace_of([1.0, 5.0, 3.0]))
    panel.mark(1)
    panel.show(trace_of([9.0, 5.0, 3.0]))
    assert panel.marked == [1]
    panel.show(trace_of([9.0, 5.0, 7.0]))
    assert panel.marked == [2]


@pytest.mark.parametrize(
    ("values", "ends"),
    [([34.5], (0, 34.5)), ([-3.0, 2.0], (-3, 2)), ([-3.0, -0.5], (-3, 0)), ([0.0], (0, 1)), ([torch.nan, 7.0], (0, 7))],
)
def test_bars_of_values_fit_their_axis(values: list[float], ends: tuple[float, float]) -> None:
    panel = Panel()
    network = nv.Network(Fixed(values), size=4, scores="regression", unit="years")
    panel.show(network.trace(torch.zeros(1, 3, 4, 4)))
    assert (panel._share.min, panel._share.max) == ends
    assert "%" not in panel._axis.tick_format
    panel.show(trace_of([1.0, 5.0, 3.0]))
    assert (panel._share.min, panel._share.max) == (0, 1)
    assert "%" in panel._axis.tick_format


def test_an_embedding_has_its_sentence_and_no_chart() -> None:
    panel = Panel()
    panel.show(nv.Network(Fixed([1.0, 2.0]), size=4, scores="embedding").trace(torch.zeros(1, 3, 4, 4)))
    assert "Returns an embedding: its similarity to a reference is explained." in panel._note.value
    assert panel._chart.layout.visibility == "hidden"
    panel.show(trace_of([1.0, 5.0]))
    assert panel._note.value == ""
    assert panel._chart.layout.visibility == "visible"
