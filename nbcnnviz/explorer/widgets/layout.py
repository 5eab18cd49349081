"""Controls with their labels and tooltips, and boxes that wrap where there is no room."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import ipywidgets as w
import numpy as np

_INITIAL = {"description_width": "initial"}


class Updating(threading.local):
    """Entered, on this thread, while a panel sets its own controls: what they report then is not the reader's doing."""

    depth = 0

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *_: object) -> None:
        self.depth -= 1

    def __bool__(self) -> bool:
        return self.depth > 0


# Controls.


def labelled(label: str, control: w.Widget) -> w.HBox:
    """A control behind its label, on one line where there is room."""
    return w.HBox([w.Label(label, layout=w.Layout(width="auto", margin="2px 4px 2px 2px")), control])


def toggles(options: Mapping[str, str], width: str = "auto") -> w.ToggleButtons:
    """Buttons of which one is pressed: their names with their tooltips."""
    return w.ToggleButtons(
        options=list(options),
        tooltips=list(options.values()),
        style=w.ToggleButtonsStyle(button_width=width, description_width="initial"),
        layout=w.Layout(flex="0 0 auto", width="auto", margin="0"),
    )


def menu(description: str, tooltip: str, options: Sequence[Any], value: Any, basis: int = 200) -> w.Dropdown:
    """A dropdown that takes the room there is."""
    return w.Dropdown(
        options=options, value=value, description=description, tooltip=tooltip, style=_INITIAL, layout=growing(basis)
    )


def checkbox(description: str, tooltip: str, value: bool) -> w.Checkbox:
    """A checkbox as wide as its label."""
    layout = w.Layout(width="auto", flex="0 0 auto")
    return w.Checkbox(value=value, description=description, tooltip=tooltip, indent=False, layout=layout)


def button(description: str, icon: str, tooltip: str, act: Callable[[], None]) -> w.Button:
    """A button with words, an icon or both."""
    layout = w.Layout(width="auto" if description else "36px", flex="0 0 auto")
    made = w.Button(description=description, icon=icon, tooltip=tooltip, layout=layout)
    made.on_click(lambda _: act())
    return made


def select(tooltip: str, rows: int = 7) -> w.Select:
    """A list of which one entry is selected."""
    return w.Select(rows=rows, tooltip=tooltip, layout=w.Layout(width="auto", min_width="0"))


class Pager:
    """A page back, a page on, or straight to one; hidden where there is one page."""

    def __init__(self, what: str, turn: Callable[[int], None]) -> None:
        self._back = button("", "chevron-left", f"{what}: the page before", lambda: turn(self.page.value - 2))
        self._next = button("", "chevron-right", f"{what}: the next page", lambda: turn(self.page.value))
        self.page = w.BoundedIntText(
            1,
            1,
            1,
            description="Page",
            tooltip=f"{what}: straight to a page",
            style=_INITIAL,
            layout=w.Layout(width="110px"),
        )
        self._text = w.HTML()
        self.widget = row(self._back, self.page, self._next, self._text)
        self.page.observe(lambda change: turn(change.new - 1), "value")

    def show(self, page: int, pages: int, text: str) -> None:
        """Show that this page, from 0, of so many is shown, and what is on it."""
        if page + 1 > self.page.max:
            self.page.max = pages
        self.page.value = page + 1
        self.page.max = pages
        self._back.disabled, self._next.disabled = page == 0, page == pages - 1
        self._text.value = hint(f"of {pages}: {text}")


# Boxes.


def growing(basis: int) -> w.Layout:
    """As wide as there is room for, this many pixels at least where possible."""
    return w.Layout(width="auto", flex=f"1 1 {basis}px", min_width="0")


def row(*parts: w.Widget, gap: str = "4px 8px") -> w.HBox:
    """Side by side, wrapped where there is no room."""
    return w.HBox(parts, layout=w.Layout(flex_flow="row wrap", align_items="center", grid_gap=gap, min_width="0"))


def column(*parts: w.Widget, flex: str = "0 0 auto", **layout: Any) -> w.VBox:
    """Below one another."""
    return w.VBox(parts, layout=w.Layout(flex=flex, min_width="0", grid_gap="6px", **layout))


def grid(*parts: w.Widget, width: int = 300, gap: str = "6px 24px") -> w.GridBox:
    """In as many columns as have this many pixels each."""
    columns = f"repeat(auto-fit, minmax(min(100%, {width}px), 1fr))"
    return w.GridBox(parts, layout=w.Layout(grid_template_columns=columns, grid_gap=gap, min_width="0", width="100%"))


def panel(*parts: w.Widget) -> w.VBox:
    """The outermost box of a panel."""
    return w.VBox(parts, layout=w.Layout(min_width="0", grid_gap="6px", padding="8px 2px"))


# What is shown.


def hint(text: str) -> str:
    """HTML of an explanation."""
    return f"<span class='nbv-hint'>{html.escape(text)}</span>"


def lines(texts: Iterable[str], style: str = "nbv-hint") -> str:
    """HTML of sentences, each on a line."""
    within = "".join(f"<div>{html.escape(text)}</div>" for text in texts if text)
    return f"<div class='{style}' style='line-height: 1.45'>{within}</div>"


def reveal(widget: w.DOMWidget, shown: bool) -> None:
    """Show or hide a widget, with no message where nothing changes."""
    display = None if shown else "none"
    if widget.layout.display != display:
        widget.layout.display = display


def set_traits(widget: Any, **traits: Any) -> None:
    """Set traits, with no message where nothing changes."""
    for name, value in traits.items():
        if not np.array_equal(getattr(widget, name), value):
            setattr(widget, name, value)


def show_only(parts: Sequence[w.DOMWidget], shown: Sequence[w.DOMWidget]) -> None:
    """Show some of the parts, and hide the others."""
    for part in parts:
        reveal(part, any(part is one for one in shown))
