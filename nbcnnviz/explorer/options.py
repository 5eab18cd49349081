"""Controls drawn from options: what a method or a recipe declares, as widgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as w

from nbcnnviz.core.options import Option
from nbcnnviz.explorer.front import parts_of, receive_while_busy

Changed = Callable[[str, Any], None]


class OptionControls:
    """A control for each option that has one; those of other kinds are set in Python.

    Parameters
    ----------
    changed
        Called with the name of an option and its new value when a control changes.

    Attributes
    ----------
    controls : dict[str, ipywidgets.Widget]
        By the names of the options.
    widget : ipywidgets.Widget
        The controls in a row, hidden where there are none.
    """

    def __init__(self, changed: Changed) -> None:
        self._changed = changed
        self._options: Mapping[str, Option] = {}
        self.controls: dict[str, Any] = {}
        self.cost = w.Label(layout=w.Layout(flex="1 1 auto", min_width="0"))
        self.widget = w.HBox(
            [self.cost], layout=w.Layout(flex_flow="row wrap", grid_gap="2px 12px", grid_column="1 / -1", min_width="0")
        )
        self.widget.add_class("nbv-options")

    def show(self, options: Mapping[str, Option], values: Mapping[str, Any]) -> None:
        """Show these options, each as ``values`` has it, or as it is by default."""
        if options != self._options:
            self._offer(options)
        for name, control in self.controls.items():
            value = values.get(name, options[name].default)
            if isinstance(control, (w.BoundedIntText, w.BoundedFloatText)):
                control.min, control.max = min(control.min, value), max(control.max, value)
            if control.value != value:
                control.value = value

    def _offer(self, options: Mapping[str, Option]) -> None:
        before = list(self.controls.values())
        self._options = options
        self.controls = {name: made for name, option in options.items() if (made := _control(option)) is not None}
        for name, control in self.controls.items():
            control.observe(lambda change, name=name: self._changed(name, change.new), "value")
        self.widget.children = (*self.controls.values(), self.cost)
        receive_while_busy(self.widget)
        for part in parts_of(*before):
            part.close()


def _control(option: Option) -> w.Widget | None:
    """A control for an option; None if it is of a kind that is set in Python."""
    label = option.name.replace("_", " ").capitalize()
    shared = {
        "description": f"{label} ({option.unit})" if option.unit else label,
        "tooltip": f"{option.help} ({option.range})" if option.help else option.range,
        "style": {"description_width": "initial"},
        "layout": w.Layout(width="auto", min_width="0", flex="0 1 auto", margin="0"),
    }
    if option.kind == "choice":
        return w.Dropdown(
            options=[(str(choice), choice) for choice in option.choices or ()], value=option.default, **shared
        )
    if option.default is None or option.kind == "any":
        return None
    if option.kind == "bool":
        return w.Checkbox(value=option.default, indent=False, **shared)
    if option.kind == "text":
        return w.Text(value=option.default, continuous_update=False, **shared)
    low, high = -_MOST if option.low is None else option.low, _MOST if option.high is None else option.high
    if option.kind == "int":
        return w.BoundedIntText(value=option.default, min=int(low), max=int(high), **shared)
    return w.BoundedFloatText(value=option.default, min=low, max=high, step=_step(option), **shared)


_MOST = 2**31 - 1


def _step(option: Option) -> float | None:
    """A hundredth of the range, rounded to a power of ten; any step where there is no range."""
    if option.low is None or option.high is None or option.high <= option.low:
        return None
    return float(f"1e{int(f'{(option.high - option.low) / 100:e}'.partition('e')[2])}")
