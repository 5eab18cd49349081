"""Where the controls of the Synthesize panel are, and which of them may be used."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import ipywidgets as w

from nbcnnviz.explorer.front import StatusLine
from nbcnnviz.explorer.panels.synthesize.screen import Screen
from nbcnnviz.explorer.panels.synthesize.setup import Setup
from nbcnnviz.explorer.widgets.layout import button, menu, panel, row, set_traits

if TYPE_CHECKING:
    from nbcnnviz.explorer.panels.synthesize.panel import SynthesizePanel

_ENDINGS = {
    "png": "Picture (PNG)",
    "gif": "Film (GIF)",
    "webp": "Film (WebP)",
    "mp4": "Film (MP4)",
    "npz": "Array (NumPy)",
    "py": "Code (Python)",
}


class Layout:
    """The panel's buttons, the slider of frames, and the widget with everything in its place."""

    def __init__(self, owner: SynthesizePanel, setup: Setup, screen: Screen) -> None:
        self.begin = button("Start", "play", "Start a run of what is asked for", owner.start)
        self.begin.button_style = "primary"
        self.step = button("Step", "step-forward", "Take one step, then pause", owner.step)
        self.from_here = button(
            "Go on from here", "history", "Start a run from the frame on the slider, with the settings as they are now",
            owner.restart,
        )  # fmt: skip
        self.frames = w.SelectionSlider(
            options=[("none", 0)], description="Frame", tooltip="The frames kept of the run", disabled=True,
            style={"description_width": "initial"}, layout=w.Layout(flex="1 1 200px", width="auto", min_width="0"),
        )  # fmt: skip
        tooltip = "The frame on the slider, the run as a film (MP4 needs imageio-ffmpeg), its frames, or the code of it"
        self.format = menu("Format", tooltip, [(title, ending) for ending, title in _ENDINGS.items()], "png", basis=170)
        self.format.layout.max_width = "240px"
        self.save = button(
            "Save", "download", "Write the file, and download it", lambda: owner.write(self.format.value)
        )
        self.code = w.HTML(layout=w.Layout(margin="0", min_width="0"))
        self.status = StatusLine(label="Synthesis")
        more = w.Accordion([w.VBox([setup.several, setup.fixed.widget, setup.live.widget])], titles=["Settings"])
        self.widget = panel(
            row(setup.recipe, setup.main.widget, self.begin, self.step),
            setup.aims,
            self.status,
            screen.widget,
            row(self.frames, self.from_here, self.format, self.save),
            self.code,
            more,
        )
        for name in ("nbcnnviz", "nbv-synthesize"):
            self.widget.add_class(name)

    def follow(self, *, live: bool, going: bool, kept: int, same: bool) -> None:
        """Offer what can be done with a run that is ``live`` or not, with bytes ``kept``, of the ``same`` network."""
        set_traits(self.begin, disabled=live)
        set_traits(self.from_here, disabled=going or not kept or not same)
        set_traits(self.frames, disabled=going or not kept)
        for control in (self.save, self.format):
            set_traits(control, disabled=not kept)
        if not going:
            size = f", up to {kept / 1e6:.0f} MB" if kept >= 5e5 else ""
            endings = [(title + size if ending == "npz" else title, ending) for ending, title in _ENDINGS.items()]
            if list(self.format.options) != endings:
                chosen = self.format.value
                with self.format.hold_sync():
                    self.format.options, self.format.value = endings, chosen

    def show_code(self, code: str) -> None:
        """Show lines of Python, or none."""
        style = "overflow:auto; margin:0; line-height:1.4"
        set_traits(self.code, value=f"<pre style='{style}'>{escape(code)}</pre>" if code else "")
