"""Marks that are drawn over maps: rings, outlines, dots."""

from __future__ import annotations

from collections.abc import Sequence

from ipycanvas import Canvas

from nbcnnviz.explorer.front.canvas import Draw
from nbcnnviz.inside import Switches

DOTS = 400
_DOT_COLOURS = ("#00e5ff", "#ffd54f", "#ff80ab", "#b2ff59", "#ea80fc")


def ring(x: float, y: float, width: int) -> Draw:
    """A ring around a place of a picture of some width, white within black, to be seen on any picture."""
    radius, line = width / 45, min(1.0, width / 224)  # the same on the screen, however few pixels the picture has

    def draw(canvas: Canvas) -> None:
        for colour, thickness in (("black", 4), ("white", 2)):
            canvas.stroke_style, canvas.line_width = colour, thickness * line
            canvas.stroke_circle(x, y, radius)

    return draw


def outline(
    left: float, top: float, width: float, height: float, within: tuple[int, int], colour: str = "white"
) -> Draw:
    """A rectangle on black, to be seen on any picture; its line lies within a picture of that width and height."""
    edge = 2
    right, bottom = min(left + width, within[0] - edge), min(top + height, within[1] - edge)
    left, top = max(left, edge), max(top, edge)

    def draw(canvas: Canvas) -> None:
        for ink, line in (("black", 4), (colour, 2)):
            canvas.stroke_style, canvas.line_width = ink, line
            canvas.stroke_rect(left, top, max(1.0, right - left), max(1.0, bottom - top))

    return draw


def dots(pools: Sequence[Switches]) -> Draw:
    """The strongest switches of each max-pool, a colour a pool; the weaker half of the strength is paler."""

    def draw(canvas: Canvas) -> None:
        for i, pool in enumerate(pools):
            rows, columns = pool.pixels[:DOTS].float().cpu().numpy().T + 0.5
            strengths = pool.strengths[:DOTS].abs().float().cpu().numpy()
            strong = strengths >= strengths.max(initial=0) / 2
            canvas.fill_style = _DOT_COLOURS[i % len(_DOT_COLOURS)]
            for some, alpha in ((~strong, 0.5), (strong, 1.0)):
                if some.any():
                    canvas.global_alpha = alpha
                    canvas.fill_circles(columns[some], rows[some], 1.2)
        canvas.global_alpha = 1.0

    return draw


def together(*parts: Draw) -> Draw:
    """One drawing after the other."""

    def draw(canvas: Canvas) -> None:
        for part in parts:
            part(canvas)

    return draw
