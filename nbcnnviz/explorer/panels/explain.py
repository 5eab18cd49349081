"""The Explain panel: the picture, the map over it, the map alone."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from nbcnnviz.attribution import Attribution, attribute, methods
from nbcnnviz.core.errors import NbcnnvizError
from nbcnnviz.core.targets import ClassScore, in_python
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.front import MapFrame, ring
from nbcnnviz.explorer.front.maps import PINNED, VIEWS
from nbcnnviz.explorer.panels.panel import Panel, Request
from nbcnnviz.explorer.panels.saving import FORMATS, write
from nbcnnviz.render import Scale, default_for, flat, overlay, upscaled


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
        from scipy.stats import spearmanr  # it takes its time to import

        maps = [flat(v[None]).nan_to_num(0, 0, 0).cpu() for v in (self.values, values)]
        if any(m.min() == m.max() for m in maps):  # before they are scaled: that would round what is flat
            return float("nan")
        size = max(m.shape[1] for m in maps), max(m.shape[2] for m in maps)
        first, second = (upscaled(m[None], size).numpy().ravel() for m in maps)
        return float(spearmanr(first, second).statistic)


class ExplainPanel(Panel):
    """Shows attributions in a `MapFrame`.

    Attributes
    ----------
    result : Attribution or None
        What is on screen.
    pinned : Pinned or None
        The map that stays beside it, to be compared.
    """

    name = "explain"
    title = "Explain"
    uses_method = True
    formats = FORMATS
    widget: MapFrame

    def __init__(self, *links: Any) -> None:
        super().__init__(*links)
        self.widget = MapFrame(label="Explanation", views=[*VIEWS, PINNED])
        self.widget.on("pin", lambda _: self.attempt(self.pin))
        self.widget.on("unpin", lambda _: self.unpin())
        self.result: Attribution | None = None
        self.pinned: Pinned | None = None
        self._signed: bool | None = None
        self._colours: dict[bool | None, str] = {}

    def answer(self, request: Request, trace: Trace) -> Generator[Attribution, None, None]:
        """The map of the target, once or better and better."""
        layer = request.layer if methods()[request.method].needs_layer else None
        question = {"method": request.method, "target": request.target, "layer": layer}
        yield from attribute.stream(trace, **question, **request.options)

    def show_trace(self, trace: Trace) -> None:
        """Show another picture."""
        self.result = None
        self.widget.show_picture(trace.pictures[0])

    def forget(self) -> None:
        """Let the result go, and its trace with it."""
        self.result = None

    def show(self, frame: Attribution) -> None:
        """Show a map, in the colours that fit its sign, or that the reader chose for maps of this sign."""
        self.result = frame
        map_ = flat(frame.values)[0]
        scale = Scale.to_show(map_)
        self._colours[self._signed] = self.widget.colours
        self._signed = scale.signed
        colours = self._colours.get(scale.signed, default_for(scale.signed))
        with self.widget.hold_sync():
            self.widget.show_map(map_, scale, colours)
            self.widget.caption = self._caption(frame) + _remark(map_, scale)
            self._liken()
        if scale.high > 0:
            self._mark_strongest(map_, *frame.trace.size)
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
        picture, values = result.trace.pictures[0], result.values[0].detach().float().cpu()
        self.pinned = Pinned(picture, values, frame.caption, frame.colours)
        with frame.hold_sync():
            frame.pin()
            self._liken()

    def unpin(self) -> None:
        """Let the pinned map go."""
        self.pinned = None
        self.widget.unpin()

    def _liken(self) -> None:
        """Say how like the pinned map the one on screen is."""
        if self.pinned is not None and self.result is not None:
            found = self.pinned.likeness(self.result.values[0].detach().float())
            self.widget.likeness = "" if np.isnan(found) else f"Rank correlation with the pinned map: {found:.2f}"

    def save(self, path: str | PathLike[str], code: str = "") -> None:
        """Write the overlay as it is set (``.png``, ``.jpg``, ``.svg``), the raw values (``.npy``, ``.npz``) or a page."""
        if self.result is None:
            raise NbcnnvizError("There is no map to save yet: wait for the explorer, with ex.wait().")
        frame, values = self.widget, self.result.values[0].detach().float().cpu().numpy()
        arrays = {"values": values, "heatmap": self.result.heatmap}
        if self.pinned is not None:
            arrays["pinned"] = self.pinned.values.numpy()
        write(path, self._overlay(self.result), arrays, frame.caption, code)

    def preview(self) -> Image.Image | None:
        """The picture and the overlay as it is set, side by side."""
        if self.result is None:
            return None
        picture, overlay = self.result.trace.pictures[0], self._overlay(self.result)
        both = Image.new("RGB", (2 * picture.width + 8, picture.height), "white")
        both.paste(picture)
        both.paste(overlay, (picture.width + 8, 0))
        return both

    def code(self, image: str) -> list[str]:
        """The call of `nbcnnviz.attribute` that makes the map again."""
        s, result = self.selection, self.result
        lines = []
        target = s.explains()
        if target is None and result is not None and isinstance(result.target, ClassScore):
            target = result.target.indices(result.trace)[0]
        own, explained = in_python(target)
        lines += own
        layer = f", layer={s.layer!r}" if methods()[s.method].needs_layer else ""
        options = "".join(f", {name}={value!r}" for name, value in s.options.items())
        lines.append(f"result = nv.attribute(net, {image}, method={s.method!r}, target={explained}{layer}{options})")
        return lines

    def _overlay(self, result: Attribution) -> Image.Image:
        """The overlay as it is set on the screen, beside what it is compared with if that is split."""
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

    def _mark_strongest(self, map_: Tensor, height: int, width: int) -> None:
        """Ring the place where the map is strongest."""
        rows, columns = map_.shape
        row, column = divmod(int(map_.nan_to_num(0, 0, 0).abs().argmax()), columns)
        x, y = (column + 0.5) * width / columns, (row + 0.5) * height / rows
        self.widget.mark(ring(x, y, radius=max(4.0, width / 45)))

    @staticmethod
    def _caption(result: Attribution) -> str:
        where = "" if result.layer == "input" else f" at {result.layer}"
        governed = f", {result.rectifiers} rectifiers ruled" if result.rectifiers else ""
        # What is not finite is told beside the scale, of the map as it is drawn.
        unruled = "".join(f", {remark}" for remark in result.remarks if remark.startswith("not ruled"))
        return f"{methods()[result.method].title} of {result.caption}{where}{governed}{unruled}"


def _remark(map_: Tensor, scale: Scale) -> str:
    """What a reader would else take for a fault of the explorer."""
    broken = map_.numel() - int(map_.isfinite().sum())
    if broken:
        return f": {broken} of {map_.numel()} values are NaN or infinite"
    return "" if scale.high > 0 else ": zero everywhere"
