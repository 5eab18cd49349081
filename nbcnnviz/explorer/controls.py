"""The controls: ipywidgets that set the selection and follow it."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ipywidgets as w
import traitlets as t
from PIL import Image

from nbcnnviz.attribution import methods
from nbcnnviz.core.network import Network
from nbcnnviz.core.samples import samples
from nbcnnviz.core.targets import BoxScore, RegionScore
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.front.status import duration
from nbcnnviz.explorer.labels import class_label, class_labels
from nbcnnviz.explorer.options import OptionControls
from nbcnnviz.explorer.panels.panel import Act
from nbcnnviz.session import Session, Snapshot, View
from nbcnnviz.zoo import networks

_TOP_CLASS = "top class; type to search"
_OWN_TARGET = "a target set in Python; type to search"
_OWN_PICTURE = "your picture"
_CLASS, _FILTER = "Class", "Filter"


def _field() -> w.Layout:
    """A control as wide as its place; one layout each, since some are hidden at times."""
    return w.Layout(width="auto", flex="1 1 auto", min_width="0")


class Controls(View):
    """Network, picture, method with its options, what to explain, layer and filter.

    Parameters
    ----------
    session
        Whose selection the controls set, and what loads the network that is chosen in the menu.
    attempt
        Runs a change of the selection and shows what is wrong with it, if anything.

    Attributes
    ----------
    uses_method : bool
        Whether what is on screen hangs on the method; if not, the layer does not hang on it either.
    """

    def __init__(self, session: Session, attempt: Callable[[Act], None]) -> None:
        self._session, self._selection, self._attempt = session, session.selection, attempt
        self.uses_method = True
        self._own: dict[str, Network] = {}
        self._own_picture: tuple[str, Image.Image] | None = None
        # Controls answer to changes on any thread, and what is set here must not be taken for the reader's.
        self._follower = threading.local()
        self._one_at_a_time = threading.RLock()

        self.network = w.Dropdown(description="Network", tooltip="The network to explain (Alt+N)", layout=_field())
        self.picture = w.Dropdown(
            description="Picture", tooltip="A sample, or the picture given (Alt+P)", layout=_field()
        )
        self.upload = w.FileUpload(
            accept="image/*",
            description="Upload",
            tooltip="A picture from your computer",
            layout=w.Layout(width="84px"),
        )
        self.upload.add_class("nbv-upload")
        self.method = w.Dropdown(description="Method", tooltip="How the map is made (Alt+M)", layout=_field())
        self.explain = w.ToggleButtons(
            options=[_CLASS, _FILTER],
            tooltips=["Explain the score of a class", "Explain what one filter of the layer answers to"],
            style=w.ToggleButtonsStyle(button_width="52px"),
            layout=w.Layout(width="114px", flex="0 0 auto"),
        )
        self.class_ = w.Combobox(
            placeholder=_TOP_CLASS,
            tooltip="The class to explain, by name (Alt+K)",
            continuous_update=False,
            layout=_field(),
        )
        self.filter = w.IntSlider(tooltip="The filter of the layer to explain (Alt+K)", layout=_field())
        self.layer = w.Dropdown(
            description="Layer",
            tooltip="Where the map is taken, in the order of the forward pass (Alt+L)",
            layout=_field(),
        )
        self.depth = w.SelectionSlider(
            options=["-"],
            description="Depth",
            tooltip="The layer, by its place in the forward pass (Alt+D)",
            readout=False,
            layout=_field(),
        )
        leads_to = {
            "n": [self.network], "p": [self.picture], "m": [self.method], "k": [self.class_, self.filter],
            "l": [self.layer], "d": [self.depth],
        }  # fmt: skip
        for letter, controls in leads_to.items():  # with Alt: see js/src/toolbar.ts
            for control in controls:
                control.add_class(f"nbv-key-{letter}")
        self.options = OptionControls(self._option_chosen)
        self.widget = w.GridBox(
            [
                self.network,
                w.HBox([self.picture, self.upload]),
                self.method,
                w.HBox([self.explain, self.class_, self.filter]),
                self.layer,
                self.depth,
                self.options.widget,
            ],
            layout=w.Layout(
                grid_template_columns="repeat(auto-fit, minmax(250px, 1fr))", grid_gap="4px 16px", width="100%"
            ),
        )
        self.widget.add_class("nbv-question")

        self._network: Network | None = None
        self.follow()
        self._selection.observe(self._changed, t.All)
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

    def close(self) -> None:
        """Follow the selection no longer."""
        self._selection.unobserve(self._changed, t.All)

    # From the selection to the controls.

    def _changed(self, _: t.Bunch) -> None:
        if not self._selection.changing:
            self.follow()

    @contextmanager
    def _following(self) -> Iterator[None]:
        with self._one_at_a_time:
            self._follower.here = True
            try:
                yield
            finally:
                self._follower.here = False

    def follow(self) -> None:
        """Show the selection, whatever the controls show."""
        with self._following():
            selection = self._selection.snapshot
            if self._network is not selection.network:
                self._offer(selection.network)
            self.network.value = self._session.loading or selection.network.name
            self._follow_picture(selection)
            offered = tuple((m.title, m.name) for m in methods().values())
            if self.method.options != offered:  # a method may have been added
                self.method.options = offered
            self.method.value = selection.method
            self.method.disabled = not self.uses_method
            self._follow_layer(selection)
            options = methods()[selection.method].options if self.uses_method else {}
            self.options.show(options, selection.options)
            by_filter = selection.filter is not None
            self.explain.value = _FILTER if by_filter else _CLASS
            for control, shown in ((self.class_, not by_filter), (self.filter, by_filter)):
                control.layout.display = None if shown else "none"
            target = selection.class_
            self.class_.value = class_label(selection.network, target) if isinstance(target, int) else ""
            self.class_.placeholder = _placeholder(selection)

    def _offer(self, network: Network) -> None:
        """Offer what a network has, and the way back to it: its classes."""
        self._network = network
        self._labels = class_labels(network)
        with self.class_.hold_sync():
            self.class_.options = list(self._labels)
            self.class_.value = ""
        if network.name not in networks() or network.origin != f"load_network({network.name!r})":
            self._own[network.name] = network  # its name in the menu does not bring it back
        self.network.options = list(dict.fromkeys([*self._own, *networks()]))

    def _follow_picture(self, selection: Snapshot) -> None:
        here = selection.source or _OWN_PICTURE
        if here not in samples():
            self._own_picture = here, selection.image
        pictures = (*samples(), *(self._own_picture or ())[:1])
        if self.picture.options != pictures:
            self.picture.options = pictures
        self.picture.value = here

    def _follow_layer(self, selection: Snapshot) -> None:
        network, layer = selection.network, selection.layer
        maps = [name for name, known in network.layers.items() if known.spatial and known.kind != "Identity"]
        menu = [name for name in network.layers if name in set(maps) or name == layer]
        # The slider keeps its options while the network stays, or the browser would move it to one that is left.
        for control, names, shown in (
            (self.layer, menu, layer),
            (self.depth, maps, layer if layer in maps else _before(layer, maps, network)),
        ):
            offered = names or ["(no layer has maps)"]  # a slider without options is refused
            if list(control.options) != offered:
                control.options = offered
            shown = offered[0] if shown is None else shown
            if control.value != shown:
                control.value = shown
            needed = not self.uses_method or methods()[selection.method].needs_layer or selection.filter is not None
            control.disabled = not names or not needed
        filter_ = selection.filter
        if filter_ is not None and layer is not None:
            self.filter.max = max(network.layers[layer].filters - 1, filter_)
            self.filter.value = filter_

    def show_question(self, snapshot: Snapshot, trace: Trace) -> None:
        """Say what the answer will cost, before it is computed."""
        method, seconds = methods()[snapshot.method], self._session.tracer.seconds_of(snapshot.network)
        text = f"Cost: {method.cost}"
        if method.passes is not None:
            passes = method.passes(method.defaults | snapshot.options, trace)
            text = f"{passes:.0f} passes" + (f", about {duration(passes * seconds)}" if seconds is not None else "")
        self.options.cost.value = text if self.uses_method else ""

    # From the controls to the selection.

    def _setter(self, name: str) -> Callable[[t.Bunch], None]:
        def chosen(change: t.Bunch) -> None:
            self._change(lambda: setattr(self._selection, name, change.new))

        return chosen

    def _change(self, act: Act) -> None:
        if not getattr(self._follower, "here", False):
            self._attempt(act)

    def _network_chosen(self, change: t.Bunch) -> None:
        own = self._own.get(change.new)
        if own is None or own is self._selection.network:
            self._change(lambda: self._session.load(change.new))
        else:
            self._change(lambda: setattr(self._selection, "network", own))

    def _picture_chosen(self, change: t.Bunch) -> None:
        own = self._own_picture
        picture = own[1] if own is not None and own[0] == change.new else change.new
        self._change(lambda: setattr(self._selection, "image", picture))

    def _uploaded(self, change: t.Bunch) -> None:
        if change.new:
            self._change(lambda: self._take(change.new[0]))
            self.upload.value = ()  # that the same file can be chosen again, and its bytes are not kept

    def _take(self, upload: dict[str, Any]) -> None:
        file = io.BytesIO(upload["content"])
        file.name = upload["name"]
        self._selection.image = file

    def _option_chosen(self, name: str, value: Any) -> None:
        def set_option() -> None:
            default = methods()[self._selection.method].options[name].default
            others = {known: given for known, given in self._selection.options.items() if known != name}
            self._selection.options = others if value == default else {**others, name: value}

        self._change(set_option)

    def _explain_chosen(self, change: t.Bunch) -> None:
        self._change(lambda: setattr(self._selection, "filter", 0 if change.new == _FILTER else None))

    def _class_chosen(self, change: t.Bunch) -> None:
        target = self._labels.get(change.new, change.new) if change.new.strip() else None
        self._change(lambda: setattr(self._selection, "target", target))


def _placeholder(selection: Snapshot) -> str:
    """What the search field for a class says while none is chosen by it."""
    target = selection.class_
    if target is None or isinstance(target, int):
        return _TOP_CLASS
    # Which a click on the picture chooses, too.
    clicked = isinstance(target, (RegionScore, BoxScore))
    return f"{target.describe(selection.network)}; type to search" if clicked else _OWN_TARGET


def _before(layer: str | None, maps: list[str], network: Network) -> str | None:
    """The last of these layers that comes before one that is not among them; the first where none does."""
    order = list(network.layers)
    if layer is None or not maps:
        return None
    return max((name for name in maps if order.index(name) < order.index(layer)), key=order.index, default=maps[0])
