"""The front end's side in the kernel: widgets whose views are in ``js/``, each drawn on ipycanvas canvases.

Their traits hold the last picture as bytes, so that nothing drawn is lost with a canvas, a reload or the kernel. What is
coloured, scaled, laid over, zoomed or read off is worked out in the browser, without a message.
"""

from nbcnnviz.explorer.front.canvas import CanvasHost
from nbcnnviz.explorer.front.classes import ClassList
from nbcnnviz.explorer.front.files import FileLine
from nbcnnviz.explorer.front.intake import WHOLE, Intake
from nbcnnviz.explorer.front.layers import LayerMap
from nbcnnviz.explorer.front.maps import MapFrame
from nbcnnviz.explorer.front.marking import MarkingFrame
from nbcnnviz.explorer.front.marks import ring
from nbcnnviz.explorer.front.parts import parts_of, receive_while_busy
from nbcnnviz.explorer.front.pictures import PictureFrame
from nbcnnviz.explorer.front.status import StatusLine
from nbcnnviz.explorer.front.tiles import TileFrame
from nbcnnviz.explorer.front.tools import Tools

__all__ = [
    "WHOLE", "CanvasHost", "ClassList", "FileLine", "Intake", "LayerMap", "MapFrame", "MarkingFrame", "PictureFrame",
    "StatusLine", "TileFrame", "Tools", "parts_of", "receive_while_busy", "ring",
]  # fmt: skip
