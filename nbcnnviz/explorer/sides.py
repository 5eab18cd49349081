"""What stands beside the panels: the layers, and the classes with what the network says of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from nbcnnviz.attribution import methods
from nbcnnviz.core.errors import MethodNotApplicableError
from nbcnnviz.core.network import Network
from nbcnnviz.core.outline import activity
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.front import LayerMap
from nbcnnviz.explorer.panels import Act, PredictionsPanel
from nbcnnviz.inside.predictions import explained
from nbcnnviz.session import Selection, Snapshot, View

_UNUSED = "not used by this method"
_NO_MAPS = "no layer of this network has maps"


class Sides(View):
    """The layers and the classes: each shows what is selected, and selects what is clicked.

    Parameters
    ----------
    selection
        What is set and followed.
    attempt
        Runs a change of it and shows what is wrong with it, if anything.

    Attributes
    ----------
    uses_method : bool
        Whether what is on screen hangs on the method: then the layer may not matter.
    """

    def __init__(self, selection: Selection, attempt: Callable[[Act], None]) -> None:
        self._selection, self._attempt = selection, attempt
        self.uses_method = True
        self._network: Network | None = None
        self._coloured: Trace | None = None
        self.predictions = PredictionsPanel(lambda target: self._set("target", target))
        self.map = LayerMap(label="Layers")
        self.map.on("choose", lambda message: self._set("layer", message.get("layer")))
        self.map.on("filter", lambda message: self._set("filter", message.get("filter")))
        self.follow()

    def show_trace(self, trace: Trace) -> None:
        """Show what the network says of another picture."""
        self.predictions.show(trace)

    def show_question(self, snapshot: Snapshot, trace: Trace) -> None:
        """Mark the class that is explained, and the one that it is held against."""
        target = snapshot.target
        top = _best(trace) if target is None else None
        one, other = explained(target, trace)
        self.predictions.mark(top if target is None else one, other, target is None)

    def answered(self, trace: Trace) -> None:
        """Colour the layers by how active the picture makes each."""
        if self._coloured is not trace:
            self.map.warm(activity(trace), "root mean square of the activations")
            self._coloured = trace

    def forget(self) -> None:
        """Let go of the trace that the layers are coloured by."""
        self._coloured = None

    def follow(self) -> None:
        """Show the selection, whatever is shown."""
        s, layers = self._selection.snapshot, self.map
        with layers.hold_sync():
            if self._network is not s.network:
                self._network = s.network
                layers.show(s.network)
            layers.current = s.layer or ""
            layers.filters = s.network.layers[s.layer].filters if s.layer is not None else 0
            layers.filter = -1 if s.filter is None else s.filter
            unused = self.uses_method and s.filter is None and not methods()[s.method].needs_layer
            none = not any(layers.sides)
            layers.note = _NO_MAPS if none else _UNUSED if unused else ""

    def _set(self, name: str, value: Any) -> None:
        self._attempt(lambda: setattr(self._selection, name, value))
        if name == "filter":
            self.map.send_state("filter")  # what was typed and refused is not left standing


def _best(trace: Trace) -> int | None:
    """The class that is explained unless another is chosen; None where none is better than another."""
    with suppress(MethodNotApplicableError):
        return trace.best[0]
    return None
