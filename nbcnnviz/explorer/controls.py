"""The controls: ipywidgets that set the selection and follow it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as w
import traitlets as t

from nbcnnviz.attribution import methods
from nbcnnviz.core.images import samples
from nbcnnviz.core.network import Network
from nbcnnviz.explorer.selection import Selection
from nbcnnviz.zoo import networks

Act = Callable[[], None]

_TOP_CLASS = "top class; type to search"
_CLASS, _FILTER = "Class", "Filter"


def _field() -> w.Layout:
    """A control as wide as its place; one layout each, since some are hidden at times."""
    return w.Layout(width="auto", flex="1 1 auto", min_width="0")


class Controls:
    """Network, picture, method, what to explain, layer and filter.

    Parameters
    ----------
    selection
        What the controls set.
    load
        Called with the name of a network chosen in the menu.
    attempt
        Runs a change of the selection and shows what is wrong with it, if anything.
    """

    def __init__(self, selection: Selection, load: Callable[[str], None], attempt: Callable[[Act], None]) -> None:
        self._selection = selection
        self._load = load
        self._attempt = attempt
        self._following = False
        self._own: dict[str, Network] = {}

        self.network = w.Dropdown(description="Network", tooltip="The network to explain", layout=_field())
        self.picture = w.Dropdown(description="Picture", tooltip="A sample, or the picture given", layout=_field())
        self.upload = w.FileUpload(
            accept="image/*",
            description="Upload",
            tooltip="A picture from your computer",
            layout=w.Layout(width="84px"),
        )
        self.upload.add_class("nbv-upload")
        self.method = w.Dropdown(
            options=[(m.title, m.name) for m in methods().values()],
            description="Method",
            tooltip="How the map is made",
            layout=_field(),
        )
        self.explain = w.ToggleButtons(
            options=[_CLASS, _FILTER],
            tooltips=["Explain the score of a class", "Explain what one filter of the layer answers to"],
            style=w.ToggleButtonsStyle(button_width="60px"),
            layout=w.Layout(width="130px", flex="0 0 auto"),
        )
        self.class_ = w.Combobox(
            placeholder=_TOP_CLASS, tooltip="The class to explain, by name", continuous_update=False, layout=_field()
        )
        self.filter = w.IntSlider(tooltip="The filter of the layer to explain", layout=_field())
        self.layer = w.Dropdown(
            description="Layer", tooltip="Where the map is taken, in the order of the forward pass", layout=_field()
        )
        self.depth = w.SelectionSlider(
            options=["-"],
            description="Depth",
            tooltip="The layer, by its place in the forward pass",
            readout=False,
            layout=_field(),
        )
        self.widget = w.GridBox(
            [
                self.network,
                w.HBox([self.picture, self.upload]),
                self.method,
                w.HBox([self.explain, self.class_, self.filter]),
                self.layer,
                self.depth,
            ],
            layout=w.Layout(
                grid_template_columns="repeat(auto-fit, minmax(250px, 1fr))", grid_gap="4px 16px", width="100%"
            ),
        )
        self.widget.add_class("nbv-question")

        self._follow_network()
        self.follow()
        selection.observe(lambda _: self._follow_network(), "network")
        selection.observe(lambda _: self.follow(), t.All)
        self.network.observe(self._network_chosen, "value")
        self.picture.observe(self._picture_chosen, "value")
        self.upload.observe(self._uploaded, "value")
        self.explain.observe(self._explain_chosen, "value")
        self.class_.observe(self._class_chosen, "value")
        for control, name in (
            (self.method, "method"),
            (self.filter, "filter"),
            (self.layer, "layer"),
            (self.depth, "layer"),
        ):
            control.observe(self._setter(name), "value")

    # From the selection to the controls.

    def _follow_network(self) -> None:
        """Offer what the network has: its layers with maps, its classes."""
        network = self._selection.network
        self._labels = class_labels(network)
        self._following = True
        try:
            with self.class_.hold_sync():
                self.class_.options = list(self._labels)
                self.class_.value = ""
            if network.name not in networks():
                self._own[network.name] = network  # it cannot be had again by its name
            self.network.options = [*self._own, *networks()]
            self.network.value = network.name
        finally:
            self._following = False

    def follow(self) -> None:
        """Show the selection, whatever the controls show."""
        selection = self._selection
        if self._following or not selection.settled:
            return
        self._following = True
        try:
            here = selection.source if selection.source in samples() else (selection.source or "your picture")
            pictures = list(dict.fromkeys([*samples(), here]))
            if list(self.picture.options) != pictures:
                self.picture.options = pictures
            self.picture.value = here
            self.network.value = selection.network.name
            self.method.value = selection.method
            self._follow_layer()
            by_filter = selection.filter is not None
            self.explain.value = _FILTER if by_filter else _CLASS
            for control, shown in ((self.class_, not by_filter), (self.filter, by_filter)):
                control.layout.display = None if shown else "none"
            if isinstance(selection.target, int):
                self.class_.value = class_label(selection.network, selection.target)
            elif selection.target is None:
                self.class_.value = ""
        finally:
            self._following = False

    def _follow_layer(self) -> None:
        selection = self._selection
        network, layer = selection.network, selection.layer
        names = [name for name, known in network.layers.items() if known.spatial or name == layer]
        for control in (self.layer, self.depth):
            if list(control.options) != names:
                # A slider without options is refused; a network without maps has one that says so.
                control.options = names or ["(no layer has maps)"]
            if layer is not None and control.value != layer:
                control.value = layer
            needed = methods()[selection.method].needs_layer or selection.filter is not None
            control.disabled = not names or not needed
        if selection.filter is not None and layer is not None:
            self.filter.max = network.layers[layer].filters - 1
            self.filter.value = selection.filter

    # From the controls to the selection.

    def _setter(self, name: str) -> Callable[[t.Bunch], None]:
        def chosen(change: t.Bunch) -> None:
            self._change(lambda: setattr(self._selection, name, change.new))

        return chosen

    def _change(self, act: Act) -> None:
        if not self._following:
            self._attempt(act)

    def _network_chosen(self, change: t.Bunch) -> None:
        if change.new in self._own:
            self._change(lambda: setattr(self._selection, "network", self._own[change.new]))
        elif change.new != self._selection.network.name:
            self._change(lambda: self._load(change.new))

    def _picture_chosen(self, change: t.Bunch) -> None:
        if change.new in samples():
            self._change(lambda: setattr(self._selection, "image", change.new))

    def _uploaded(self, change: t.Bunch) -> None:
        if change.new:
            self._change(lambda: self._take(change.new[0]))

    def _take(self, file: dict[str, Any]) -> None:
        self._selection.image = bytes(file["content"])
        self._selection.source = file["name"]

    def _explain_chosen(self, change: t.Bunch) -> None:
        self._change(lambda: setattr(self._selection, "filter", 0 if change.new == _FILTER else None))

    def _class_chosen(self, change: t.Bunch) -> None:
        if change.new:
            self._change(lambda: setattr(self._selection, "target", self._labels.get(change.new, change.new)))


def class_label(network: Network, index: int) -> str:
    """A class as the search field shows it: its name with its index, since names may be shared."""
    return f"{network.classes[index]} ({index})"


def class_labels(network: Network) -> dict[str, int]:
    """Every class as the search field shows it, in the order of the alphabet."""
    labels = {class_label(network, i): i for i in range(len(network.classes))}
    return dict(sorted(labels.items(), key=lambda item: item[0].lower()))
