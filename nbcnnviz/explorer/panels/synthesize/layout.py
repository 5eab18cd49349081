"""Where the controls of the Synthesize panel are, and which of them may be used."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING

import ipywidgets as w

from nbcnnviz.explorer.front import StatusLine
from nbcnnviz.explorer.panels.panel import Act
from nbcnnviz.explorer.panels.synthesize.dials import Dials
from nbcnnviz.explorer.panels.synthesize.screen import Screen
from nbcnnviz.explorer.panels.synthesize.setup import Setup

if TYPE_CHECKING:
    from nbcnnviz.explorer.panels.synthesize.panel import SynthesizePanel

_ENDINGS = (
    ("png", "PNG", "The frame on the slider, as a picture"),
    ("gif", "GIF", "The run, as a film"),
    ("webp", "WebP", "The run, as a film, smaller and in better colours"),
    ("mp4", "MP4", "The run, as a film; needs an encoder: pip install imageio-ffmpeg"),
    ("npz", "Array", "The frames and their numbers, for numpy.load"),
    ("py", "Code", "The Python that makes the frame on the slider again"),
)


class Layout:
    """The panel's buttons, the slider of frames, and the widget with everything in its place."""

    def __init__(self, panel: SynthesizePanel, setup: Setup, dials: Dials, screen: Screen) -> None:
        self.play = _button("Start", "play", "Start a run", panel.play_or_pause, "primary")
        self.step = _button("Step", "step-forward", "Take one step, then pause", panel.step)
        self.stop = _button("Stop", "stop", "End the run; its frames stay", panel.stop)
        self.from_here = _button(
            "Go on from here", "history", "Start a run from the frame on the slider, with the settings as they are now",
            lambda: panel.restart(), width="148px",
        )  # fmt: skip
        self.frames = w.SelectionSlider(
            options=[("none", 0)], description="Frame", tooltip="The frames kept of the run", disabled=True,
            style={"description_width": "44px"}, layout=w.Layout(flex="1 1 220px", width="auto", min_width="0"),
        )  # fmt: skip
        self.saves = {
            ending: _button(title, "", tooltip, partial(panel.write, ending), width="64px")
            for ending, title, tooltip in _ENDINGS
        }
        self.code = w.HTML(layout=w.Layout(margin="0", min_width="0"))
        self.status = StatusLine(label="Synthesis")
        more = w.Accordion([w.VBox([dials.others, setup.others])], titles=["More settings"])
        self.widget = w.VBox(
            [
                setup.main,
                setup.aims,
                dials.first,
                _line(self.play, self.step, self.stop, self.frames, self.from_here),
                self.status,
                screen.widget,
                more,
                _line(w.Label("Save", layout=w.Layout(width="36px")), *self.saves.values()),
                self.code,
            ],
            layout=w.Layout(min_width="0", grid_gap="6px"),
        )
        self.widget.add_class("nbcnnviz")

    def follow(self, *, live: bool, going: bool, kept: bool, same: bool) -> None:
        """Offer what can be done with a run that is ``live`` or not, with frames ``kept``, of the ``same`` network."""
        name, icon, tooltip = (
            ("Pause", "pause", "Pause after this step")
            if going
            else ("Resume" if live else "Start", "play", "Go on" if live else "Start a run")
        )
        self.play.description, self.play.icon, self.play.tooltip = name, icon, tooltip
        self.stop.disabled = not live
        self.from_here.disabled = going or not kept or not same
        self.frames.disabled = going or not kept
        for button in self.saves.values():
            button.disabled = not kept

    def show_code(self, code: str) -> None:
        """Show lines of Python, or none."""
        style = "overflow:auto; margin:0; line-height:1.4"
        self.code.value = f"<pre style='{style}'>{escape(code)}</pre>" if code else ""


def _button(name: str, icon: str, tooltip: str, act: Act, style: str = "", width: str = "84px") -> w.Button:
    button = w.Button(
        description=name, icon=icon, tooltip=tooltip, button_style=style,
        layout=w.Layout(width=width, flex="0 0 auto", margin="0"),
    )  # fmt: skip
    button.on_click(lambda _: act())
    return button


def _line(*widgets: w.Widget) -> w.HBox:
    return w.HBox(
        widgets, layout=w.Layout(flex_flow="row wrap", align_items="center", grid_gap="4px 6px", min_width="0")
    )
