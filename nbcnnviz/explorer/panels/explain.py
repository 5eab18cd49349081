"""The Explain panel: the picture, the map over it, the map alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from nbcnnviz.attribution import Attribution, methods
from nbcnnviz.attribution.result import in_colour
from nbcnnviz.core.errors import NbcnnvizError
from nbcnnviz.core.targets import RegionScore, Target
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.front import MapFrame, ring
from nbcnnviz.explorer.front.maps import OBJECT, PINNED, VIEWS
from nbcnnviz.explorer.panels.objects import CutOut, white_on_black
from nbcnnviz.explorer.panels.panel import Panel
from nbcnnviz.inside.figures.captions import amiss, applied_at
from nbcnnviz.inside.figures.files import FORMATS, write
from nbcnnviz.inside.places import Places
from nbcnnviz.metrics import rank_correlation
from nbcnnviz.render import Scale, flat, overlay
from nbcnnviz.session import Explanation, Snapshot, Tasks
from nbcnnviz.session.code import explanation_code


@dataclass(frozen=True, eq=False)
class Pinned:
    """A map kept to be compared with others, and nothing of the trace that it came from.

    Attributes
    ----------
    picture : PIL.Image.Image
        What it explains, as the network saw it.
    values : Tensor
        The values (C, h, w), in the memory of the CPU.
    caption : str
        What it is, in words.
    colours : str
        The colour map that it had.
    """

    picture: Image.Image
    values: Tensor
    caption: str
    colours: str

    def likeness(self, values: Tensor) -> float:
        """Spearman's rank correlation with another map (C, h, w), both at the finer of their sizes; NaN if one is flat."""
        return rank_correlation(self.values, values)

    def in_words(self, values: Tensor) -> str:
        """How like another map (C, h, w) is, as it is shown; nothing if one of the two is flat."""
        found = self.likeness(values)
        return "" if np.isnan(found) else _LIKENESS.format(found)

    @property
    def is_flat(self) -> bool:
        """Whether it has the same value everywhere, and is like nothing."""
        plain = _plain(self.values)
        return bool(plain.min() == plain.max())


_LIKENESS = "Rank correlation with the pinned map: {:z.2f}"


def _plain(values: Tensor) -> Tensor:
    """A map (C, h, w) summed over channels, (1, h, w), zero where it is no number."""
    return flat(values[None]).nan_to_num(0, 0, 0).cpu()


@dataclass(frozen=True, eq=False)
class Compared:
    """The last frame, and in words how like the pinned map it is."""

    result: Attribution
    likeness: str


_MASK = "mask.png"
"""The ending of a file of the mask alone, white on black."""


class ExplainPanel(Explanation, Panel):
    """Shows attributions in a `MapFrame`.

    Attributes
    ----------
    result : Attribution or None
        What is on screen.
    pinned : Pinned or None
        The map that stays beside it, to be compared.
    cut_out : CutOut
        The object that the map points at.
    """

    name = "explain"
    title = "Explain"
    uses_method = True
    formats = (*FORMATS, _MASK)
    widget: MapFrame

    def __init__(self, *links: Any) -> None:
        super().__init__(*links)
        self.widget = MapFrame(label="Explanation", views=[*VIEWS, OBJECT, PINNED])
        self.cut_out = CutOut(self.widget)
        self.widget.on("pin", lambda _: self.attempt(self.pin))
        self.widget.on("unpin", lambda _: self.unpin())
        self.widget.observe(lambda _: self.attempt(self._show_again), "of_error")
        self.widget.on(
            "place", lambda message: self._choose(lambda: self._places.at(message.get("x"), message.get("y")))
        )
        self.widget.on("box", lambda message: self._choose(lambda: self._places.box(message.get("at"))))
        self._places = Places()
        self._asked: Any = None
        self.pinned: Pinned | None = None

    def use(self, tasks: Tasks) -> None:
        """Be given the session's tasks, of which one cuts out the object."""
        self.cut_out.use(tasks)

    def settled(self) -> None:
        """Cut out the object of the map as it stays."""
        self.cut_out.begin(self.result)

    def forget(self) -> None:
        """Let the result go, and what was cut out by it."""
        super().forget()
        self.cut_out.clear()

    def answer(self, snapshot: Snapshot, trace: Trace) -> Iterator[Attribution | Compared]:
        """The map of the target, once or better and better; and the last one compared with what is pinned."""
        frame = None
        for frame in super().answer(snapshot, trace):
            yield frame
        pinned = self.pinned
        if frame is not None and pinned is not None:  # which takes its time: not before the map is shown
            yield Compared(frame, pinned.in_words(frame.values[0].detach().float()))

    def show_trace(self, trace: Trace) -> None:
        """Show another picture."""
        super().show_trace(trace)
        self.cut_out.clear()
        places = self._places = Places.of(trace)
        with self.widget.hold_sync():
            self.widget.show_picture(trace.pictures[0])
            if places.labels is not None:
                self.widget.show_regions(*places.regions(trace.network.classes))
            elif places.boxes:
                self.widget.show_boxes([box.corners for box in places.boxes], places.names)

    def show_question(self, snapshot: Snapshot, trace: Trace) -> None:
        """Emphasise the box that is explained."""
        self._asked = snapshot.target
        self.widget.box = self._places.chosen(snapshot.target)

    def show(self, frame: Attribution | Compared) -> None:
        """Show a map, in the colours that fit its sign, or that the reader chose for maps of this sign."""
        result, likeness = (frame.result, frame.likeness) if isinstance(frame, Compared) else (frame, "")
        before, self.result = self.result, result
        with self.widget.hold_sync():
            seen = self._seen(result)
            self.widget.has_error = result.error is not None
            self.widget.likeness = likeness if self.pinned is not None and seen is result else ""
            if before is not result:
                self.cut_out.clear()
                self._show_map(seen)

    def _seen(self, result: Attribution) -> Attribution:
        """What of a result is on screen: its map, or its standard error where that is wanted."""
        if result.error is None or not self.widget.of_error:
            return result
        return replace(result, values=result.error)

    def _show_again(self) -> None:
        result = self.result
        if result is not None:
            with self.widget.hold_sync():
                self._show_map(self._seen(result))

    def _show_map(self, result: Attribution) -> None:
        map_ = flat(result.values)[0]
        scale = Scale.to_show(map_)
        picture = in_colour(result) if result.view == "picture" else None
        self.widget.show_map(map_, scale, self.widget.colours_for(scale.signed), picture)
        self.widget.caption = self._caption(result) + amiss(map_, scale, ": ")
        if scale.high > 0:
            self._mark_strongest(map_, *result.trace.size)
        else:
            self.widget.unmark()

    def pin(self) -> None:
        """Keep the map on screen beside those to come, in place of the one that was kept before.

        Raises
        ------
        NbcnnvizError
            If there is no map yet.
        """
        result, frame = self.result, self.widget
        if result is None:
            raise NbcnnvizError("There is no map to pin yet: wait for the explorer, with ex.wait().")
        picture, values = result.trace.pictures[0], self._seen(result).values[0].detach().float().cpu()
        self.pinned = Pinned(picture, values, frame.caption, frame.colours)
        with frame.hold_sync():
            frame.pin()
            frame.likeness = "" if self.pinned.is_flat else _LIKENESS.format(1)  # with itself

    def unpin(self) -> None:
        """Let the pinned map go."""
        self.pinned = None
        self.widget.unpin()

    def save(self, path: str | PathLike[str], code: str = "") -> None:
        """Write the overlay as it is set (``.png``, ``.jpg``, ``.svg``), the raw values (``.npy``, ``.npz``) or a page.

        ``.mask.png`` writes the mask of the object that the map points at; where that is shown, ``.npz`` has it too.
        """
        result, pinned, caption = self.result, self.pinned, self.widget.caption  # which a task may be changing
        if result is None:
            raise NbcnnvizError("There is no map to save yet: wait for the explorer, with ex.wait().")
        arrays = {"values": result.values[0].detach().float().cpu().numpy(), "heatmap": result.heatmap}
        if result.error is not None:
            arrays["error"] = result.error[0].detach().float().cpu().numpy()
        if pinned is not None:
            arrays["pinned"] = pinned.values.numpy()
        as_mask, shown = str(path).lower().endswith(f".{_MASK}"), self.cut_out.shown(result)
        if shown is not None:
            arrays["mask"] = shown.mask
        picture = white_on_black(self.cut_out.mask(result)) if as_mask else self._overlay(result)
        write(path, picture, arrays, caption, code)

    def preview(self) -> Image.Image | None:
        """The picture and the overlay as it is set, side by side."""
        result = self.result
        if result is None:
            return None
        picture, overlay = result.trace.pictures[0], self._overlay(result)
        both = Image.new("RGB", (2 * picture.width + 8, picture.height), "white")
        both.paste(picture)
        both.paste(overlay, (picture.width + 8, 0))
        return both

    def code(self, image: str) -> list[str]:
        """The call of `nbcnnviz.attribute` that makes the map again."""
        return [*explanation_code(self.selection.snapshot, image, self.result), *self.cut_out.code(self.result)]

    def _overlay(self, result: Attribution) -> Image.Image:
        """The overlay as it is set on the screen, beside what it is compared with if that is split."""
        result = self._seen(result)
        frame, pinned = self.widget, self.pinned
        look = {name: getattr(frame, name) for name in ("opacity", "threshold", "contours")}
        split = frame.split if frame.compare == "split" else 0.0
        made = result.overlay(**look, colours=frame.colours, split=split)
        if split and pinned is not None and frame.compare_with == "pinned":
            # As js/src/views.ts has it: at this picture's size, and in these colours if both are signed, or neither.
            alike = Scale.to_show(flat(pinned.values[None])[0]).signed == Scale.to_show(flat(result.values)[0]).signed
            colours = frame.colours if alike else pinned.colours
            beside = overlay(pinned.picture.resize(made.size), pinned.values, **look, colours=colours)
            made.paste(beside.crop((0, 0, int(split * made.width + 0.5), made.height)))
        return made

    def _choose(self, find: Callable[[], Target | None]) -> None:
        """Explain what is at the place that the reader chose, if there is anything."""

        def choose() -> None:
            target = find()
            if target is not None:
                self.selection.target = target

        self.attempt(choose)

    def _mark_strongest(self, map_: Tensor, height: int, width: int) -> None:
        """Ring the place where the map is strongest."""
        rows, columns = map_.shape
        row, column = divmod(int(map_.nan_to_num(0, 0, 0).abs().argmax()), columns)
        x, y = (column + 0.5) * width / columns, (row + 0.5) * height / rows
        self.widget.mark(ring(x, y, width))

    def _caption(self, result: Attribution) -> str:
        where = "" if result.layer == "input" else f" at {_called(result.trace, result.layer)}"
        governed = applied_at(result.rectifiers)
        # What is not finite, or all zero, is told beside the scale, of the map as it is drawn.
        told = "".join(
            f", {remark}" for remark in result.remarks if remark.startswith("not ruled") or remark in result.notes
        )
        what = result.caption
        if isinstance(self._asked, RegionScore) and isinstance(result.target, RegionScore):
            what = self._asked.describe(result.trace.network)  # the result's own has the mask that was predicted
        error = "Standard error of " if result.values is result.error else ""
        return f"{error}{methods()[result.method].title} of {what}{where}{governed}{told}"


def _called(trace: Trace, layer: str) -> str:
    """A layer's name, with its kind where the name is but a number."""
    known = trace.network.layers.get(layer)
    return f"{layer} ({known.kind})" if known is not None and layer.partition(":")[0].isdigit() else layer
