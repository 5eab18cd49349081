"""The numbers of a run that may be moved while it goes on, each as a slider."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ipywidgets as w

from nbcnnviz.synthesis import Controls

Moved = Callable[[str, float], None]


@dataclass(frozen=True)
class _Dial:
    """A control as it is shown: its label, what it does, and what it may be set to.

    ``choices`` are the values of a slider that leaps; else it runs from zero to ``most`` in steps of ``step``.
    """

    label: str
    tooltip: str
    choices: tuple[float, ...] = ()
    most: float = 0
    step: float = 1


def _decades(low: int, high: int) -> tuple[float, ...]:
    """Zero, and 1, 2 and 5 times each power of ten."""
    return (0.0, *(float(f"{digit}e{power}") for power in range(low, high) for digit in (1, 2, 3, 5)))


DIALS = {
    "learning_rate": _Dial("Learning rate", "How far a step goes", (*_decades(-4, 2)[1:], 100.0)),
    "l2": _Dial("L2", "Weight of the penalty on the sum of squares of the picture", _decades(-6, 0)),
    "tv": _Dial("Total variation", "Weight of the penalty on slopes: it keeps noise away", _decades(-8, 0)),
    "jitter": _Dial("Jitter", "The network's view moves by up to half as many pixels, at random", most=64),
    "scale": _Dial("Scale", "The view is magnified by a factor between 1 - this and 1 + this", most=0.5, step=0.01),
    "rotate": _Dial("Rotation", "The view is turned by up to so many degrees either way", most=45, step=0.5),
    "jitter_after": _Dial("Jitter after", "As jitter, after scaling and turning", most=32),
    "decay": _Dial("Decay", "The share of the picture that fades at each step", _decades(-5, 0)),
    "blur_every": _Dial("Blur every", "The picture is blurred after each so many steps; 0 for never", most=20),
    "blur_radius": _Dial("Blur radius", "Standard deviation of the blur, in pixels", most=5, step=0.1),
    "clip_norm": _Dial("Clip small", "The percentage of pixels, the faintest, set to grey at each step", most=95),
    "clip_contribution": _Dial(
        "Clip useless", "The percentage of pixels, those that add least to the score, set to grey at each step", most=95
    ),
    "wake": _Dial("Wake", "For so many first steps dead rectifiers let through the gradient that wakes them", most=64),
}
"""What there is for each of `Controls`, the most used first."""

FIRST = ("learning_rate", "l2", "tv", "jitter")
"""Those that are always in sight."""


class Dials:
    """Sliders for `Controls`: ``first`` always in sight, ``others`` to be unfolded.

    Parameters
    ----------
    moved
        Called with the name and the number of a control that the reader moved.
    """

    def __init__(self, moved: Moved) -> None:
        self._moved = moved
        self._setting = threading.local()  # what is set here must not be taken for the reader's
        self.sliders: dict[str, Any] = {name: _slider(dial) for name, dial in DIALS.items()}
        for name, slider in self.sliders.items():
            slider.observe(self._observer(name), "value")
        self.first = _grid([self.sliders[name] for name in FIRST])
        self.others = _grid([slider for name, slider in self.sliders.items() if name not in FIRST])

    @property
    def values(self) -> dict[str, float]:
        """Every control's number."""
        return {name: slider.value for name, slider in self.sliders.items()}

    def set(self, controls: Controls) -> None:
        """Show these numbers."""
        self._setting.here = True
        try:
            for name, slider in self.sliders.items():
                value = getattr(controls, name)
                if isinstance(slider, w.SelectionSlider) and value not in dict(slider.options).values():
                    slider.options = _options({value, *(number for _, number in slider.options)})
                elif not isinstance(slider, w.SelectionSlider) and value > slider.max:
                    slider.max = value
                slider.value = value
        finally:
            self._setting.here = False

    def _observer(self, name: str) -> Callable[[Any], None]:
        def observe(change: Any) -> None:
            if not getattr(self._setting, "here", False):
                self._moved(name, change.new)

        return observe


def _slider(dial: _Dial) -> w.Widget:
    shared = {
        "description": dial.label,
        "tooltip": dial.tooltip,
        "style": {"description_width": "96px"},
        "layout": w.Layout(width="auto", min_width="0"),
    }
    if dial.choices:
        return w.SelectionSlider(options=_options(set(dial.choices)), **shared)
    kind = w.IntSlider if dial.step == 1 else w.FloatSlider
    return kind(min=0, max=dial.most, step=dial.step, **shared)


def _options(values: set[float]) -> list[tuple[str, float]]:
    return [(f"{value:g}" if value else "off", value) for value in sorted(values)]


def _grid(widgets: list[w.Widget]) -> w.GridBox:
    return w.GridBox(
        widgets,
        layout=w.Layout(
            grid_template_columns="repeat(auto-fit, minmax(250px, 1fr))", grid_gap="2px 16px", align_items="center"
        ),
    )
