"""The Compare panel: maps along one axis of the selection side by side, judged; and what if."""

from __future__ import annotations

from collections.abc import Callable, Generator
from os import PathLike
from threading import RLock
from typing import Any

import ipywidgets as w
from PIL import Image

from nbcnnviz.core.errors import MethodNotApplicableError, NbcnnvizError
from nbcnnviz.core.targets import in_python
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.front import TileFrame, receive_while_busy
from nbcnnviz.explorer.panels.compare.drawing import drawn, poster
from nbcnnviz.explorer.panels.compare.frames import (
    AGREEMENT,
    MAPS,
    SCORES,
    WHAT_IF,
    CompareFrame,
    Computing,
    Settings,
)
from nbcnnviz.explorer.panels.compare.parts import Marked, ScoresView, WhatIfView
from nbcnnviz.explorer.panels.compare.words import left_out, matrix
from nbcnnviz.explorer.panels.panel import Panel
from nbcnnviz.explorer.widgets.layout import (
    Updating,
    checkbox,
    column,
    labelled,
    panel,
    reveal,
    row,
    show_only,
    toggles,
)
from nbcnnviz.inside.figures.files import FORMATS, Figure
from nbcnnviz.metrics import Comparison, Entry
from nbcnnviz.session import Snapshot

_VIEWS = {
    MAPS: "The maps side by side; a click selects one",
    AGREEMENT: "The rank correlations between all pairs of maps",
    SCORES: "Insertion, deletion, pointing and other scores of the maps",
    WHAT_IF: "The classes with a filter off or scaled, or with a part of the picture hidden",
}
_AXES = {
    "methods": "Every method that applies, the cheapest first",
    "classes": "The most probable classes, from one batched backward pass",
    "layers": "Layers over depth",
    "pictures": "The sample pictures",
    "networks": "The networks used, each beside a copy whose weights are drawn anew",
    "cascade": "Sanity check: the weights drawn anew in a copy, from the last layer up (Adebayo et al. 2018)",
}
_COSTS = {"a few passes": 3.0, "up to 200 passes": 200.0, "all methods": float("inf")}
_COUNTS = {"classes": 9, "layers": 12, "pictures": 12, "cascade": 8}
_EMPTY = "The maps come here one after the other, the cheapest first: click one to select it."
_UNITS_ALIKE = ("classes", "pictures")


class ComparePanel(Panel):
    """Shows maps in a `TileFrame`, their correlations and scores; a click on a tile selects what it shows.

    Attributes
    ----------
    result : CompareFrame or None
        What is on screen.
    """

    name = "compare"
    title = "Compare"
    uses_method = True
    formats = FORMATS
    widget: w.VBox
    result: CompareFrame | None = None

    def __init__(self, *links: Any) -> None:
        super().__init__(*links)
        self._computing = Computing()
        self._say: Callable[[Comparison], str] = lambda comparison: ""
        self._on_picture: Any = None  # what the picture with the box shows
        self._picture: Image.Image | None = None
        self._judgements = 0
        self._updating, self._drawing = Updating(), RLock()
        self._looks: dict[str, tuple[bool, bool]] = {a: (a not in _UNITS_ALIKE, a == "pictures") for a in _AXES}
        self._counts = dict(_COUNTS)
        self._build()
        self.follow()

    def _build(self) -> None:
        self.view, self.axis = toggles(_VIEWS), toggles(_AXES)
        self.cost = w.Dropdown(
            options=list(_COSTS), value="a few passes", tooltip="Methods that take more are left out",
            layout=w.Layout(width="150px"),
        )  # fmt: skip
        self.most = w.BoundedIntText(
            9, 1, 60, description="How many", tooltip="The most maps that are made", continuous_update=False,
            style={"description_width": "initial"}, layout=w.Layout(width="140px"),
        )  # fmt: skip
        self.relative = checkbox(
            "Each over its own largest", "Maps of unlike units on one scale; else their values", True
        )
        self.over = checkbox("Over the picture", "The maps over the picture, or alone", False)
        self.tiles = TileFrame(label="Maps compared", side=96, smooth=True, caption=_EMPTY)
        self.tiles.on("choose", lambda message: self.choose(message.get("index")))
        self._left_out, self._matrix = w.HTML(), w.HTML(matrix(None))
        self.marked = Marked(self._box_changed)
        self.scores, self.what_if = ScoresView(self.judge), WhatIfView(self._change_changed)
        self._axis_row = row(labelled("Along", self.axis), self.cost, self.most, gap="2px 12px")
        self._look_row = row(self.relative, self.over, gap="0 16px")
        self._top = row(self.view, self._look_row, gap="2px 16px")
        self._maps = column(self.tiles, self._left_out)
        self._side = w.HBox(
            layout=w.Layout(flex_flow="row wrap", grid_gap="8px 16px", min_width="0", align_items="flex-start")
        )
        self.widget = panel(*self._parts)
        for part in self._parts:  # those that are not shown yet too
            receive_while_busy(part)
        self.widget.add_class("nbv-compare")
        self.view.observe(self._view_changed, "value")
        self.axis.observe(self._axis_changed, "value")
        self.cost.observe(lambda _: self.ask(), "value")
        self.most.observe(self._count_changed, "value")
        self.relative.observe(self._look_changed, "value")
        self.over.observe(self._look_changed, "value")
        self._arrange()

    # What the reader does.

    def choose(self, at: object) -> None:
        """Select what a tile shows, by its place."""
        frame = self.result
        entries = () if frame is None or frame.comparison is None else frame.comparison.entries
        if isinstance(at, int) and 0 <= at < len(entries) and frame is not None and frame.comparison is not None:
            axis, entry = frame.comparison.axis, entries[at]
            self.attempt(lambda: self._select(axis, entry))

    def _select(self, axis: str, entry: Entry) -> None:
        selection = self.selection
        if axis == "cascade":
            if not entry.chosen:
                raise MethodNotApplicableError(
                    "A stage of the cascade is a copy that is not kept: choose networks, and the copy with all weights drawn "
                    "anew can be selected."
                )
        elif axis == "networks":
            layer = selection.layer
            selection.network = entry.value
            if layer in selection.network.layers:
                selection.layer = layer
        elif axis == "pictures":
            selection.image = entry.value
        else:
            setattr(selection, {"methods": "method", "classes": "target", "layers": "layer"}[axis], entry.value)

    def judge(self) -> None:
        """Compute the scores that are ticked, of the map that is selected or of all."""
        self._judgements += 1
        self.ask()

    def _view_changed(self, change: Any) -> None:
        self._arrange()
        with self._drawing:
            self._show_marked()
        if WHAT_IF in (change.old, change.new):
            self.ask()

    def _axis_changed(self, _: Any) -> None:
        with self._updating:
            self.relative.value, self.over.value = self._looks[self.axis.value]
            self.most.value = self._counts.get(self.axis.value, self.most.value)
        self._arrange()
        self.ask()

    def _count_changed(self, change: Any) -> None:
        if not self._updating:
            self._counts[self.axis.value] = change.new
            self.ask()

    def _look_changed(self, _: Any) -> None:
        if not self._updating:
            self._looks[self.axis.value] = bool(self.relative.value), bool(self.over.value)
            with self._drawing:
                self._draw()

    def _box_changed(self) -> None:
        if self.view.value == WHAT_IF and self.what_if.region.value != "as it is":
            self.ask()

    def _change_changed(self) -> None:
        if self.view.value == WHAT_IF:
            self.ask()

    def follow(self) -> None:
        """Offer the filter that is selected."""
        snapshot = self.selection.snapshot
        layer = None if snapshot.layer is None else snapshot.network.layers.get(snapshot.layer)
        self.what_if.follow(layer, snapshot.filter)

    @property
    def _parts(self) -> tuple[w.Widget, ...]:
        """All that may be shown."""
        views = (self.marked.widget, self.scores.widget, self.what_if.widget)
        return self._top, self._axis_row, self._maps, self._matrix, self._side, *views

    def _arrange(self) -> None:
        """Show what belongs to the view. What is hidden is not in the page at all: a chart there would have no width."""
        view, axis = self.view.value, self.axis.value
        show_only([self.cost, self.most], [self.cost] if axis == "methods" else [self.most] if axis in _COUNTS else [])
        reveal(self._look_row, view == MAPS)
        beside = (self.scores if view == SCORES else self.what_if).widget
        self._side.children = (self.marked.widget, beside) if view in (SCORES, WHAT_IF) else ()
        shown_ = {MAPS: self._maps, AGREEMENT: self._matrix}.get(view, self._side)
        self.widget.children = (self._top, *(() if view == WHAT_IF else (self._axis_row,)), shown_)

    # From the selection to frames.

    def settings(self) -> Settings:
        """What the controls are set to."""
        axis = self.axis.value
        return Settings(
            self.view.value,
            axis,
            self._counts.get(axis),
            _COSTS[self.cost.value],
            self._judgements,
            self.scores.chosen,
            self.scores.all_maps,
            self.marked.box,
            self.what_if.change(),
        )

    def answer(self, snapshot: Snapshot, trace: Trace) -> Generator[CompareFrame, None, None]:
        """The maps, the cheapest first, and their scores if asked; or the scores before and after."""
        yield from self._computing.answer(snapshot, trace)

    # From frames to the screen.

    def show_trace(self, trace: Trace) -> None:
        """Show another picture."""
        self._picture = trace.pictures[0]
        self._on_picture = None
        self._show_marked()

    def show_question(self, snapshot: Snapshot, trace: Trace) -> None:
        """Show what is not shown, and why, for this trace."""
        self._say = lambda comparison: left_out(comparison, trace, _COSTS[self.cost.value])

    def show(self, frame: CompareFrame) -> None:
        """Show a frame."""
        with self._drawing:
            self.result = frame
            self._draw()
            comparison = frame.comparison
            self._matrix.value = matrix(comparison)
            if comparison is not None:
                self._left_out.value = self._say(comparison)
            self.scores.show(comparison, frame.judged)
            if frame.suggested is not None:
                self.what_if.suggest(frame.suggested)
            self.what_if.show(frame.what_if, self.selection.snapshot.layer)
            self._show_marked()

    def _draw(self) -> None:
        frame = self.result
        if frame is None or frame.comparison is None:
            return
        comparison = frame.comparison
        made = drawn(comparison, self.relative.value, self.over.value)
        there = f"{comparison.step} of " if comparison.step < comparison.steps else ""
        caption = f"{there}{len(made.tiles)} maps; rank correlations with the one selected"
        with self.tiles.hold_sync():
            if made.over is not None:
                self.tiles.show_colour(made.over, type(made.scale)(0.0, 0.0), made.tiles, caption)
            else:
                self.tiles.show(made.maps, [made.scale], made.tiles, self.tiles.colours_for(made.scale.signed), caption)
            self.tiles.chosen = -1 if comparison.chosen is None else comparison.chosen

    def _show_marked(self) -> None:
        """Show beside the scores the map that is selected, and in What if what the network is given."""
        frame = self.result
        comparison, changed = (None, None) if frame is None else (frame.comparison, frame.what_if)
        at = None if comparison is None else comparison.chosen
        result = None if comparison is None or at is None else comparison.entries[at].result
        picture: Any = None
        shown_: Any = None
        caption = ""
        if self.view.value == WHAT_IF and changed is not None:
            shown_, caption = changed, "What the network is given; drag a box"
            picture = lambda: changed.picture  # noqa: E731
        elif self.view.value == SCORES and result is not None:
            shown_, caption = result, "The map selected; drag a box around the object"
            picture = result.overlay
        elif self._picture is not None:
            shown_, caption, picture = self._picture, "Drag a box on the picture", lambda: self._picture
        if picture is not None and self._on_picture is not shown_:
            self.marked.show(picture(), caption)
            self._on_picture = shown_

    def forget(self) -> None:
        """Let go of maps, and of the trace that they are a part of."""
        self.result = self._on_picture = None
        self._say = lambda comparison: ""
        self._computing.forget()

    def close(self) -> None:
        """Let go of everything."""
        self.widget.children = self._parts  # to be closed with it
        self._side.children = ()
        self.scores.close()
        self.forget()
        self._computing.close()
        self._picture = None

    # What can be kept of it.

    def figure(self, shown: CompareFrame) -> Figure:
        """The tiles with their names, and the maps and scores."""
        assert shown.comparison is not None
        sheet = poster(drawn(shown.comparison, self.relative.value, self.over.value), self.tiles.colours)
        return Figure(sheet, shown.arrays, self.tiles.caption)

    def save(self, path: str | PathLike[str], code: str = "") -> None:
        """Write the tiles (``.png``, ``.svg`` ...), the numbers (``.npz``), or a page with both (``.html``)."""
        frame = self.result
        if frame is None or not frame.tiled:
            raise NbcnnvizError("There are no maps to save yet: wait for the explorer, with ex.wait().")
        self.figure(frame).save(path, code)

    def preview(self) -> Image.Image | None:
        """The tiles with their names."""
        frame = self.result
        return self.figure(frame).picture if frame is not None and frame.tiled else None

    def code(self, image: str) -> list[str]:
        """The call of `nbcnnviz.metrics.compare`, or of `nbcnnviz.what_if`, that makes what is shown again."""
        s, settings = self.selection.snapshot, self.settings()
        lines = [f"trace = net.trace({image})"]
        if settings.view == WHAT_IF:
            change, given = settings.change, []
            if change.channel is not None and s.layer is not None:
                given.append(f"{s.layer!r}, {change.channel}, scale={change.scale:g}")
            if change.region is not None and settings.box is not None:
                given.append(f"box={settings.box}, region={change.region!r}")
            return [*lines, f"found = nv.what_if(trace, {', '.join(given)})"] if given else lines
        own, target = in_python(s.target)
        parts = [f"axis={settings.axis!r}", f"method={s.method!r}", f"target={target}", f"layer={s.layer!r}"]
        if s.options:
            parts.append(f"options={s.options!r}")
        if settings.axis in _COUNTS:
            parts.append(f"most={settings.most}")
        if settings.axis == "methods" and settings.passes < float("inf"):
            parts.append(f"passes={settings.passes:g}")
        lines += [*own, f"found = nv.metrics.compare(trace, {image}, {', '.join(parts)})"]
        if settings.view == SCORES and settings.metrics:
            box = f", box={settings.box}" if settings.box is not None else ""
            chosen = f"list(nv.metrics.judge(entry.result, {list(settings.metrics)}{box}))"
            lines.append(f"scores = {{entry.name: {chosen} for entry in found.entries if entry.result is not None}}")
        return lines
