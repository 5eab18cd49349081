"""What a run looks like: its pictures, under titles, and its curves."""

from __future__ import annotations

from html import escape

import ipywidgets as w

from nbcnnviz.explorer.front import PictureFrame
from nbcnnviz.explorer.panels.synthesize.curves import Curves
from nbcnnviz.explorer.panels.synthesize.run import Run, RunFrame, Specification
from nbcnnviz.session.pace import Pace
from nbcnnviz.synthesis import Fooled

CURVES_A_SECOND = 5

PASSING, STAYING = 74, 92
"""The JPEG quality of a picture that the next one is about to replace, and of one that is there to be looked at."""

_ALONE = "460px"  # the room for one picture, which is shown no larger


class Screen:
    """Draws frames.

    Attributes
    ----------
    shown : RunFrame or None
        The frame whose pictures are on screen.
    """

    def __init__(self) -> None:
        self.shown: RunFrame | None = None
        self.in_passing = False
        self._charted: RunFrame | None = None
        self._pace = Pace(CURVES_A_SECOND, 0.025)
        self.pictures = PictureFrame(label="Pictures in the making")
        self.curves = Curves()
        self.predictions = w.HTML(layout=w.Layout(min_width="0", margin="0"))
        self._left = w.VBox(
            [self.pictures, self.predictions],
            layout=w.Layout(flex="1.2 1 320px", min_width="0", max_width=_ALONE, grid_gap="8px"),
        )
        self.widget = w.HBox(
            [self._left, self.curves.widget], layout=w.Layout(flex_flow="row wrap", grid_gap="8px 24px", min_width="0")
        )

    def forget(self) -> None:
        """Let go of what was drawn."""
        self.shown = self._charted = None
        self.curves.forget()

    def draw(self, shown: RunFrame, run: Run) -> None:
        """Show a frame's pictures, unless they are there already, as good as they can be."""
        if shown is self.shown and (run.going or not self.in_passing):
            return
        frame, specification = shown.frame, run.specification_of(shown.step)
        pictures, titles, least = frame.images, [""], 320
        if isinstance(frame, Fooled):
            before, after = ((f.top(1) or [(0, "", 0.0)])[0] for f in (frame.original, frame))
            magnified = 127 / max(1, frame.change_linf)
            pictures = [frame.original.image, frame.image, frame.difference()]
            titles = [
                f"Before: {before[1]}, {before[2]:.1%}",
                f"After: {after[1]}, {after[2]:.1%}",
                f"The change, {magnified:.3g} times as strong",
            ]
            least = 180
        elif len(pictures) > 1:
            titles = [f"{title}: {score:.4g}" for title, score in zip(specification.titles, frame.scores, strict=True)]
            least = 150
        with self.pictures.hold_sync():
            self.pictures.width, self.pictures.choosable = least, specification.filters is not None
            quality = PASSING if run.going else STAYING
            self.pictures.show(pictures, titles, _caption(shown, specification), quality)
        width = _ALONE if len(pictures) == 1 else None
        if self._left.layout.max_width != width:
            self._left.layout.max_width = width
        self.shown, self.in_passing = shown, quality == PASSING

    def chart(self, shown: RunFrame, run: Run, at_once: bool = False) -> bool:
        """Show the numbers up to the newest frame, and say so; not each time, unless it is to be at once."""
        frame = shown.frame
        if shown is self._charted or not (at_once or self._pace.due):
            return False
        with self._pace.drawing():
            specification = run.specification
            asked = [frame.to, frame.original.top(1)[0][0]] if isinstance(frame, Fooled) else []
            if isinstance(specification.objective, int):
                asked = [specification.objective]
            self.curves.draw(run.record, specification.titles, specification.network.classes, asked)
            table = _before_and_after(frame) if isinstance(frame, Fooled) else ""
            if table != self.predictions.value:
                self.predictions.value = table
            self._charted = shown
        return True


def _caption(shown: RunFrame, specification: Specification) -> str:
    frame = shown.frame
    if isinstance(frame, Fooled):
        change = f"the change is {frame.change_l2:.2%} of the picture (L2), {frame.change_linf} of 255 at most"
        return f"Step {shown.step}: {change}"
    what = {"invert": f"likeness of {specification.words}"}.get(specification.recipe.name, specification.words)
    return f"Step {shown.step}: {what}, score {frame.score:.4g}"


def _before_and_after(frame: Fooled) -> str:
    """The predictions for both pictures, as a table."""
    rows = []
    for before, after in zip(frame.original.top(4), frame.top(4), strict=True):
        cells = "".join(
            f"<td style='padding:0 8px 0 0'>{escape(name)}</td><td style='padding:0 24px 0 0;text-align:right'>{share:.1%}</td>"
            for _, name, share in (before, after)
        )
        rows.append(f"<tr>{cells}</tr>")
    head = "".join(
        f"<th colspan='2' style='text-align:left;padding:0 24px 0 0'>{name}</th>" for name in ("Before", "After")
    )
    return f"<table style='border-collapse:collapse;line-height:1.5'><tr>{head}</tr>{''.join(rows)}</table>"
