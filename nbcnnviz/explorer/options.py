"""Controls drawn from options: what a method or a recipe declares, as widgets."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ipywidgets as w

from nbcnnviz.attribution.sampling import BASELINES
from nbcnnviz.core.network import Network
from nbcnnviz.core.options import Option, in_force
from nbcnnviz.core.targets import ClassScore
from nbcnnviz.explorer.front import parts_of, receive_while_busy
from nbcnnviz.explorer.widgets.layout import Updating, grid, reveal, set_traits
from nbcnnviz.synthesis.specification import SELECTED

Changed = Callable[[str, Any], None]
OWN = "given in Python"

# What the menus of these kinds offer; anything else is a reader's own picture.
_PICTURES: dict[str, tuple[tuple[str, str], ...]] = {
    "baseline": tuple((name, name) for name in BASELINES),
    "picture": (("noise", "noise"), ("the mean colour", "mean"), ("the picture selected", SELECTED)),
}


class OptionControls:
    """A control for each option that has one, while it makes a difference; those of other kinds are set in Python.

    Parameters
    ----------
    changed
        Called with the name of an option and its new value when the reader changes a control.
    label_width
        How many pixels a label has where the controls are in columns; in a row each has what it needs.

    Attributes
    ----------
    controls : dict[str, ipywidgets.Widget]
        By the names of the options.
    about, cost : ipywidgets.Label
        What the options belong to does, and what it costs, in words.
    widget : ipywidgets.Widget
        The controls in a row, and the words behind them; or in columns.
    """

    def __init__(self, changed: Changed, label_width: int | None = None) -> None:
        self._changed, self._label_width = changed, label_width
        self._options: Mapping[str, Option] = {}
        self._network: Network | None = None
        self._labels: dict[str, int] = {}
        self._updating = Updating()
        self.controls: dict[str, Any] = {}
        self._behind: list[w.Widget] = []
        if label_width is None:
            self.about, self.cost = (w.Label() for _ in range(2))
            for label, name in ((self.about, "about"), (self.cost, "cost")):
                label.add_class(f"nbv-{name}")
            self._behind = [self.about, self.cost]
            self.widget = w.HBox(self._behind, layout=w.Layout(min_width="0"))
        else:
            self.widget = grid(width=250, gap="2px 16px")
        self.widget.add_class("nbv-options")

    def show(
        self,
        options: Mapping[str, Option],
        values: Mapping[str, Any],
        network: Network | None = None,
        disabled: bool = False,
    ) -> None:
        """Show these options, each as ``values`` has it, or as it is by default; none that makes no difference.

        ``values`` may have those of other options, on which that depends. ``network``'s classes are offered where a class is
        asked for.
        """
        with self._updating:
            if options != self._options:
                self._offer(options)
            if network is not self._network:
                self._network, self._labels = network, class_labels(network) if network is not None else {}
            now = in_force(options, values)
            for name, control in self.controls.items():
                if options[name].kind == "class":
                    set_traits(control, options=tuple(self._labels))
                self._set(control, _written(options[name], now[name], self._network))
                counts = options[name].counts(now)
                set_traits(control, disabled=disabled or not counts)
                if not disabled:  # nothing comes and goes while it cannot be used
                    reveal(control, counts or options[name].main)  # what is always in sight is greyed out

    @staticmethod
    def _set(control: Any, value: Any) -> None:
        """Set a control, which is given room for a value that it does not offer."""
        if isinstance(control, w.SelectionSlider):
            if value not in (known := {number for _, number in control.options}):
                control.options = _named({value, *known})
        elif isinstance(control, w.Dropdown):
            offered = [entry for entry in control.options if entry != (OWN, OWN)]
            entries = (*offered, (OWN, OWN)) if value == OWN else tuple(offered)
            if control.options != entries:  # what was given in Python can be left here, and not be taken up again
                control.options = entries
        elif hasattr(control, "max"):
            set_traits(control, max=max(control.max, value), min=min(control.min, value))
        if control.value != value:
            control.value = value

    def _offer(self, options: Mapping[str, Option]) -> None:
        """Have a control for each; one that differs in its default alone stays what it is."""
        before, self.controls = self.controls, {}
        for name, option in options.items():
            made = before.get(name)
            if made is None or replace(option, default=None) != replace(self._options[name], default=None):
                made = _control(option, self._label_width)
                if made is not None:
                    made.observe(lambda change, name=name: self._report(name, change.new), "value")
            if made is not None:
                self.controls[name] = made
        self._options = options
        self.widget.children = (*self.controls.values(), *self._behind)
        receive_while_busy(self.widget)
        kept = [id(control) for control in self.controls.values()]
        for part in parts_of(*(control for control in before.values() if id(control) not in kept)):
            part.close()

    def _report(self, name: str, value: Any) -> None:
        if not self._updating:
            self._changed(name, _read(self._options[name], value, self._labels))


def class_labels(network: Network) -> dict[str, int]:
    """Every class as a field shows it, with its index since names may be shared, in the order of the alphabet."""
    labels = {ClassScore(i).describe(network): i for i in range(len(network.classes))}
    return dict(sorted(labels.items(), key=lambda item: item[0].lower()))


def _control(option: Option, label_width: int | None) -> w.Widget | None:
    """A control for an option; None if it is of a kind that is set in Python."""
    label = option.label or option.name.replace("_", " ").capitalize()
    shared: dict[str, Any] = {
        "description": f"{label} ({option.unit})" if option.unit else label,
        "tooltip": f"{option.help} ({option.range})" if option.help else option.range,
        "style": {"description_width": "initial" if label_width is None else f"{label_width}px"},
        "layout": w.Layout(width="auto", min_width="0", flex="0 0 auto", margin="0"),
    }
    if option.kind == "class":
        shared["layout"].flex, shared["layout"].min_width = "1 1 220px", "200px"  # names are long
    make = _KINDS.get(option.kind)
    if make is None or not option.screen:
        return None
    return make(option, shared)


def _number(option: Option, shared: dict[str, Any]) -> w.Widget:
    if option.default is None:
        return _field(option, shared)
    whole = option.kind == "int"
    if option.typical is not None and option.log:
        return w.SelectionSlider(options=_named(_decades(option.typical)), value=_decades(option.typical)[-1], **shared)
    if option.typical is not None:
        low, high = option.typical
        if whole:
            return w.IntSlider(min=int(low), max=int(high), value=int(low), **shared)
        return w.FloatSlider(min=low, max=high, value=low, step=_step(low, high), **shared)
    low, high = (-_MOST if option.low is None else option.low), (_MOST if option.high is None else option.high)
    if whole:
        return w.BoundedIntText(value=option.default, min=int(low), max=int(high), **shared)
    step = None if option.low is None or option.high is None or high <= low else _step(low, high)
    return w.BoundedFloatText(value=option.default, min=low, max=high, step=step, **shared)


def _field(option: Option, shared: dict[str, Any]) -> w.Widget:
    """A field that may be left empty."""
    return w.Text(placeholder="several" if option.kind == "numbers" else "automatic", continuous_update=False, **shared)


_KINDS: dict[str, Callable[[Option, dict[str, Any]], w.Widget]] = {
    "int": _number,
    "float": _number,
    "bool": lambda option, shared: w.Checkbox(value=option.default, indent=False, **shared),
    "text": lambda option, shared: w.Text(value=option.default, continuous_update=False, **shared),
    "choice": lambda option, shared: w.Dropdown(
        options=[(str(choice), choice) for choice in option.choices or ()], value=option.default, **shared
    ),
    "class": lambda option, shared: w.Combobox(
        placeholder="automatic; type to search", continuous_update=False, **shared
    ),
    "size": _field,
    "numbers": _field,
    "baseline": lambda option, shared: w.Dropdown(options=_PICTURES["baseline"], **shared),
    "picture": lambda option, shared: w.Dropdown(
        options=[*([("automatic", None)] if option.default is None else []), *_PICTURES["picture"]],
        value=option.default,
        **shared,
    ),
}


def _written(option: Option, value: Any, network: Network | None) -> Any:
    """What a control says where an option has a value."""
    if option.kind == "class":
        known = network is not None and isinstance(value, int) and 0 <= value < len(network.classes)
        return ClassScore(value).describe(network) if known else "" if value is None else str(value)  # type: ignore[arg-type]
    if option.kind in _PICTURES:
        names = [name for _, name in _PICTURES[option.kind]]
        offered = (value is None and option.default is None) or (isinstance(value, str) and value in names)
        return value if offered else OWN
    if option.kind == "size":
        return "" if value is None else " x ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    if option.kind == "numbers":
        parts = value if isinstance(value, (tuple, list)) else [] if value is None else [value]
        return ", ".join(f"{part:.12g}" for part in parts)
    if option.default is None and option.kind in ("int", "float"):
        return "" if value is None else f"{value:.12g}"
    return value


def _read(option: Option, value: Any, labels: Mapping[str, int]) -> Any:
    """The value of an option where its control says this; text that means nothing stays as it is, to be refused."""
    if option.kind == "class":
        return labels.get(value, value.strip() or None)
    if option.kind == "size":
        numbers = re.fullmatch(r"\s*(\d+)\s*(?:x\s*(\d+)\s*)?", value)
        if numbers is None:
            return value.strip() or None
        return int(numbers[1]) if numbers[2] is None else (int(numbers[1]), int(numbers[2]))
    if option.kind == "numbers" or (option.default is None and option.kind in ("int", "float")):
        parts = [_as_number(part) for part in re.split(r"[,;\s]+", value.strip()) if part]
        if None in parts or (len(parts) > 1 and option.kind != "numbers"):
            return value.strip()
        return (tuple(parts) if option.kind == "numbers" else parts[0]) if parts else None
    return value


def _as_number(text: str) -> float | int | None:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return None


_MOST = 2**31 - 1


def _decades(ends: tuple[float, ...]) -> list[float]:
    """1, 2, 3 and 5 times each power of ten between two ends; with zero before, where three are given."""
    low, high = ends[-2:]
    powers = range(-12, 13)
    found = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 3, 5)]
    return [*ends[:-2], *(value for value in found if low <= value <= high)]


def _named(values: set[float] | list[float]) -> list[tuple[str, float]]:
    return [(f"{value:g}" if value else "off", value) for value in sorted(values)]


def _step(low: float, high: float) -> float:
    """A hundredth of the range, rounded to a power of ten."""
    return float(f"1e{int(f'{(high - low) / 100:e}'.partition('e')[2])}")
