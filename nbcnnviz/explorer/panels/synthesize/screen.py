"""What a run looks like: its pictures, under titles, and its curves."""

from __future__ import annotations

from html import escape

import ipywidgets as w
from PIL import Image, ImageOps

from nbcnnviz.explorer.front import PictureFrame
from nbcnnviz.explorer.panels.synthesize.curves import Curves
from nbcnnviz.explorer.panels.synthesize.run import Run, RunFrame
from nbcnnviz.explorer.widgets.layout import hint, set_traits
from nbcnnviz.session.pace import Pace
from nbcnnviz.synthesis import Fooled, Frame
from nbcnnviz.synthesis.specification import Specification

CURVES_A_SECOND = 5

PASSING, STAYING = 74, 92
"""The JPEG quality of a picture that the next one is about to replace, and of one that is there to be looked at."""

_ALONE = "min(460px, 52vh)"  # the room for one picture, which is shown no larger
_SEVERAL = 150  # pixels that each of several has at least


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
        self._photograph: tuple[Specification, Image.Image] | None = None
        self._pace = Pace(CURVES_A_SECOND, 0.025)
        self.pictures = PictureFrame(label="Pictures in the making")
        self.curves = Curves()
        self.predictions = w.HTML(layout=w.Layout(min_width="0", margin="0"))
        self._left = w.VBox(
            [self.pictures, self.predictions],
            layout=w.Layout(flex="1.2 1 320px", min_width="0", max_width=_ALONE, grid_gap="8px"),
        )
        # Charts and pictures that were never seen have no size: they come with the first frame.
        self._nothing = w.HTML(layout=w.Layout(min_height="240px", min_width="0", margin="0"))
        self.widget = w.HBox([self._nothing], layout=w.Layout(flex_flow="row wrap", grid_gap="8px 24px", min_width="0"))

    def promise(self, said: str) -> None:
        """Say what will be here."""
        set_traits(self._nothing, value=f"<div class='nbv-empty'>{hint(said)}</div>")

    def forget(self) -> None:
        """Let go of what was drawn, and have all that is to be closed in its place."""
        self.shown = self._charted = self._photograph = None
        self.curves.forget()
        self.widget.children = (self._nothing, self._left, self.curves.widget)

    def draw(self, shown: RunFrame, run: Run) -> None:
        """Show a frame's pictures, unless they are there already, as good as they can be."""
        if shown is self.shown and (run.going or not self.in_passing):
            return
        frame, specification = shown.frame, run.specification_of(shown.step)
        if self._nothing in self.widget.children:
            self.widget.children = (self._left, self.curves.widget)
        pictures, titles = frame.images, [""]
        if isinstance(frame, Fooled):
            before, after = ((f.top(1) or [(0, "", 0.0)])[0] for f in (frame.original, frame))
            magnified = 127 / max(1, frame.change_linf)
            pictures = [frame.original.image, frame.image, frame.difference()]
            titles = [
                f"Before: {before[1]}, {before[2]:.1%}",
                f"After: {after[1]}, {after[2]:.1%}",
                f"The change, {magnified:.3g} times as strong",
            ]
        elif len(pictures) > 1:
            named = zip(specification.titles_of(len(pictures)), frame.scores, strict=True)
            titles = [f"{title}: {score:.4g}" for title, score in named]
        elif specification.recipe.takes == "picture":
            pictures = [self._as_it_was(specification, frame), *pictures]
            titles = ["Before", specification.recipe.title]
        with self.pictures.hold_sync():
            self.pictures.width = 320 if len(pictures) == 1 else _SEVERAL
            self.pictures.choosable = specification.filters is not None
            quality = PASSING if run.going else STAYING
            self.pictures.show(pictures, titles, _caption(shown, specification), quality)
        width = _ALONE if len(pictures) == 1 else None
        set_traits(self._left.layout, max_width=width)
        self.shown, self.in_passing = shown, quality == PASSING

    def _as_it_was(self, specification: Specification, frame: Frame) -> Image.Image:
        """The photograph that the run started from, as large as what it makes."""
        if self._photograph is None or self._photograph[0] is not specification:
            self._photograph = specification, ImageOps.fit(specification.image.convert("RGB"), frame.image.size)
        return self._photograph[1]

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
            titles = specification.titles_of(len(frame.images))
            self.curves.draw(run.record, titles, specification.network.classes, asked)
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
    what = f"likeness of {specification.words}" if specification.recipe.raises == "layer" else specification.words
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
