from __future__ import annotations

import pytest
import torch
from torch import nn

import nbcnnviz as nv
from nbcnnviz.explorer.panels.predictions import PredictionsPanel
from nbcnnviz.inside.predictions import percent


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
        self.chosen: list[object] = []
        super().__init__(self.chosen.append)

    def say(self, event: str, **more: object) -> None:
        self.widget._handle_custom_msg({"type": event, **more}, [])

    @property
    def labels(self) -> list[str]:
        return [f"{row['name']} {row['text']}" for row in self.widget.rows]

    @property
    def bars(self) -> list[tuple[float, float]]:
        return [(row["start"], row["end"]) for row in self.widget.rows]

    @property
    def marked(self) -> list[int]:
        return [at for at, row in enumerate(self.widget.rows) if row["index"] == self.widget.chosen]


def test_the_top_classes_are_shown_best_first() -> None:
    panel = Panel()
    trace = trace_of([float(i) for i in range(12)], [f"name {i}" for i in range(12)])
    panel.show(trace)
    assert [row["name"] for row in panel.widget.rows] == [f"name {i}" for i in range(11, 3, -1)]
    assert [end for _, end in panel.bars] == pytest.approx([p for _, _, p in trace.top(8)])
    assert {start for start, _ in panel.bars} == {0}
    assert panel.labels[0].endswith(" 63 %")
    assert panel.labels[-1].endswith(" < 0.1 %" if trace.top(8)[-1][2] < 0.001 else " %")


def test_a_network_of_fewer_classes_has_fewer_rows() -> None:
    panel = Panel()
    panel.show(trace_of([0.0, 0.0, 0.0]))
    assert len(panel.labels) == 3
    panel.show(trace_of([5.0]))
    assert panel.labels == ["positive 99 %", "negative 0.7 %"]  # a single logit has two sides


def test_rows_of_one_name_are_told_apart_by_their_index() -> None:
    panel = Panel()
    panel.show(trace_of([1.0, 1.0, 1.0], ["crane", "crane", "a name that is much too long for a row"]))
    assert sorted(row["index"] for row in panel.widget.rows) == [0, 1, 2]
    assert "a name that is much too long for a row" in {row["name"] for row in panel.widget.rows}


def test_scores_that_are_no_numbers_are_shown_as_such() -> None:
    panel = Panel()
    panel.show(trace_of([torch.nan, 1.0]))
    assert all(label.endswith("NaN") for label in panel.labels)
    assert panel.bars == [(0, 0)] * 2


def test_a_click_chooses_the_class_of_the_row() -> None:
    panel = Panel()
    panel.show(trace_of([1.0, 5.0, 3.0]))
    for row in panel.widget.rows:
        panel.say("choose", index=row["index"])
    assert panel.chosen == [1, 2, 0]
    panel.say("choose", index=None)
    assert panel.chosen[-1] is None, "whichever is on top"


@pytest.mark.parametrize("event", [{"index": i} for i in ("1", 9, -1, 1.0, True)])
def test_an_event_that_names_no_class_is_ignored(event: dict) -> None:
    panel = Panel()
    panel.say("choose", **event)
    panel.show(trace_of([1.0, 5.0, 3.0]))
    panel.say("choose", **event)
    panel.say("contrast", **event)
    assert panel.chosen == []


def test_the_class_explained_is_marked() -> None:
    panel = Panel()
    panel.show(trace_of([1.0, 5.0, 3.0]))
    assert panel.marked == []
    panel.mark(2)
    assert panel.marked == [1]
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


def test_a_class_that_is_not_among_the_best_is_listed_with_its_probability_when_it_is_explained() -> None:
    panel = Panel()
    trace = trace_of([float(i) for i in range(12)], [f"name {i}" for i in range(12)])
    panel.show(trace)
    panel.mark(2)
    assert [row["index"] for row in panel.widget.rows] == [*range(11, 3, -1), 2]
    assert panel.marked == [8]
    assert panel.labels[8] == f"name 2 {percent(float(trace.probabilities[0, 2]))}"
    panel.show(trace_of([float(-i) for i in range(12)], [f"name {i}" for i in range(12)]))
    assert panel.marked == [2], "on another picture it is among them"
    assert len(panel.widget.rows) == 8


def test_a_shift_click_holds_the_class_explained_against_another() -> None:
    panel = Panel()
    panel.show(trace_of([1.0, 5.0, 3.0]))
    panel.say("contrast", index=2)
    assert panel.chosen == [2], "nothing was explained"
    panel.mark(1)
    panel.say("contrast", index=2)
    assert panel.chosen[-1] == nv.ClassScore(1) - nv.ClassScore(2)
    panel.say("contrast", index=1)
    assert panel.chosen[-1] == 1, "a class against itself is the class"


def test_a_search_shows_what_it_found_with_its_probability_and_follows_the_picture() -> None:
    panel = Panel()
    panel.show(trace_of([1.0, 5.0, 3.0], ["ant", "bee", "beetle"]))
    panel.say("search", text="bee")
    widget = panel.widget
    assert (widget.wanted, widget.matches) == ("bee", 2)
    assert [(row["name"], row["text"]) for row in widget.found] == [("bee", "87 %"), ("beetle", "12 %")]
    panel.show(trace_of([1.0, 3.0, 5.0], ["ant", "bee", "beetle"]))
    assert [(row["name"], row["text"]) for row in widget.found] == [("bee", "12 %"), ("beetle", "87 %")]
    panel.say("search", text="")
    assert (widget.found, widget.matches) == ([], 0)


def test_of_many_that_are_found_the_first_are_shown_and_all_are_counted() -> None:
    panel = Panel()
    panel.show(trace_of([0.0] * 100))
    panel.say("search", text="class")
    assert (len(panel.widget.found), panel.widget.matches) == (40, 100)


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([34.5], [(0, 1)]),
        ([-3.0, 2.0], [(0, 0.6), (0.6, 1)]),
        ([-3.0, -0.5], [(0, 1), (2.5 / 3, 1)]),
        ([0.0], [(0, 0)]),
        ([torch.nan, 7.0], [(0, 0), (0, 1)]),
    ],
)
def test_bars_of_values_begin_at_zero_and_fit_their_scale(values: list[float], bars: list) -> None:
    panel = Panel()
    network = nv.Network(Fixed(values), size=4, scores="regression", unit="years")
    panel.show(network.trace(torch.zeros(1, 3, 4, 4)))
    assert panel.bars == [pytest.approx(bar) for bar in bars]
    assert all(label.endswith(" years") and "%" not in label for label in panel.labels)
    assert panel.widget.heading == "Values"
    panel.show(trace_of([1.0, 5.0, 3.0]))
    assert "%" in panel.labels[0]
    assert panel.widget.heading == "Classes"


def test_an_embedding_has_its_sentence_and_no_rows() -> None:
    panel = Panel()
    panel.show(nv.Network(Fixed([1.0, 2.0]), size=4, scores="embedding").trace(torch.zeros(1, 3, 4, 4)))
    assert panel.widget.note == "Returns an embedding: its similarity to a reference is explained."
    assert panel.widget.rows == []
    assert not panel.widget.topped
    panel.show(trace_of([1.0, 5.0]))
    assert panel.widget.note == ""
    assert len(panel.widget.rows) == 2
