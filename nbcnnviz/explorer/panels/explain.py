"""The Explain panel: the picture, the map over it, the map alone."""

from __future__ import annotations

from torch import Tensor

from nbcnnviz.attribution import Attribution, methods
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.frame import PanelFrame
from nbcnnviz.explorer.surface import ring
from nbcnnviz.render import Scale, default_for, flat


class ExplainPanel:
    """Shows attributions in a `PanelFrame`."""

    def __init__(self) -> None:
        self.widget = PanelFrame()
        self._signed: bool | None = None
        self._colours: dict[bool | None, str] = {}

    def show_trace(self, trace: Trace) -> None:
        """Show another picture."""
        self.widget.show_picture(trace.pictures[0])

    def show(self, result: Attribution) -> None:
        """Show a map, in the colours that fit its sign, or that the reader chose for maps of this sign."""
        map_ = flat(result.values)[0]
        scale = Scale.to_show(map_)
        self._colours[self._signed] = self.widget.colours
        self._signed = scale.signed
        colours = self._colours.get(scale.signed, default_for(scale.signed))
        with self.widget.hold_sync():
            self.widget.show_map(map_, scale, colours)
            self.widget.caption = self._caption(result) + _remark(map_, scale)
            if result.steps > 1:
                self.widget.step, self.widget.steps = result.step, result.steps
        if scale.high > 0:
            self._mark_strongest(map_, *result.trace.size)
        else:
            self.widget.unmark()

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
