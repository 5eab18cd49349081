"""The Explain panel: the picture, the map over it, the map alone."""

from __future__ import annotations

from collections.abc import Generator
from os import PathLike
from typing import Any

from PIL import Image
from torch import Tensor

from nbcnnviz.attribution import Attribution, attribute, methods
from nbcnnviz.core.errors import NbcnnvizError
from nbcnnviz.core.targets import ClassScore
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.front import MapFrame, ring
from nbcnnviz.explorer.panels.panel import Panel, Request
from nbcnnviz.explorer.panels.saving import FORMATS, write
from nbcnnviz.render import Scale, default_for, flat


class ExplainPanel(Panel):
    """Shows attributions in a `MapFrame`.

    Attributes
    ----------
    result : Attribution or None
        What is on screen.
    """

    name = "explain"
    title = "Explain"
    uses_method = True
    formats = FORMATS
    widget: MapFrame

    def __init__(self, *links: Any) -> None:
        super().__init__(*links)
        self.widget = MapFrame(label="Explanation")
        self.result: Attribution | None = None
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
        if scale.high > 0:
            self._mark_strongest(map_, *frame.trace.size)
        else:
            self.widget.unmark()

    def save(self, path: str | PathLike[str], code: str = "") -> None:
        """Write the overlay as it is set (``.png``, ``.jpg``, ``.svg``), the raw values (``.npy``, ``.npz``) or a page."""
        if self.result is None:
            raise NbcnnvizError("There is no map to save yet: wait for the explorer, with ex.wait().")
        frame, values = self.widget, self.result.values[0].detach().float().cpu().numpy()
        write(path, self._overlay(self.result), {"values": values, "heatmap": self.result.heatmap}, frame.caption, code)

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
        explained = repr(target)
        if type(target).__module__.startswith("nbcnnviz."):
            explained = f"nv.{explained}"
        elif callable(target):
            explained = "target"
            lines.append("target = ...  # your function of the trace")
        layer = f", layer={s.layer!r}" if methods()[s.method].needs_layer else ""
        options = "".join(f", {name}={value!r}" for name, value in s.options.items())
        lines.append(f"result = nv.attribute(net, {image}, method={s.method!r}, target={explained}{layer}{options})")
        return lines

    def _overlay(self, result: Attribution) -> Image.Image:
        """The overlay as it is set on the screen."""
        frame = self.widget
        split = frame.split if frame.compare == "split" else 0.0
        look = {name: getattr(frame, name) for name in ("opacity", "threshold", "colours", "contours")}
        return result.overlay(**look, split=split)

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
        return f"{methods()[result.method].title} of {result.caption}{where}{governed}"


def _remark(map_: Tensor, scale: Scale) -> str:
    """What a reader would else take for a fault of the explorer."""
    broken = map_.numel() - int(map_.isfinite().sum())
    if broken:
        return f": {broken} of {map_.numel()} values are NaN or infinite"
    return "" if scale.high > 0 else ": zero everywhere"
