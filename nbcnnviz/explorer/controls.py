"""The controls: ipywidgets that set network, method and options, and follow the selection."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import ipywidgets as w
import traitlets as t

from nbcnnviz.attribution import methods
from nbcnnviz.core.durations import duration
from nbcnnviz.core.network import Network
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.options import OptionControls
from nbcnnviz.explorer.panels.panel import Act
from nbcnnviz.explorer.widgets.layout import Updating
from nbcnnviz.session import Session, Snapshot, View
from nbcnnviz.zoo import bundled, from_torchvision, networks

MORE = "more networks ..."


def _menu(label: str, tooltip: str, key: str) -> w.Dropdown:
    made = w.Dropdown(description=label, tooltip=tooltip, layout=w.Layout(width="auto", min_width="0"))
    made.add_class(f"nbv-key-{key}")  # with Alt: see js/src/toolbar.ts
    return made


class Controls(View):
    """Network, and method with its options.

    Parameters
    ----------
    session
        Whose selection the controls set, and what loads the network that is chosen in the menu.
    attempt
        Runs a change of the selection and shows what is wrong with it, if anything.

    Attributes
    ----------
    uses_method : bool
        Whether what is on screen hangs on the method.
    """

    def __init__(self, session: Session, attempt: Callable[[Act], None]) -> None:
        self._session, self._selection, self._attempt = session, session.selection, attempt
        self.uses_method = True
        self._own: dict[str, Network] = {}
        self._all = False
        self._asked: tuple[str, int, bool] | None = None
        # Controls answer to changes on any thread, and what is set here must not be taken for the reader's.
        self._updating = Updating()
        self._one_at_a_time = threading.RLock()
        self.network = _menu("Network", "The network to explain (Alt+N)", "n")
        self.method = _menu("Method", "How the map is made (Alt+M)", "m")
        self.options = OptionControls(self._option_chosen)
        self.widget = w.HBox([self.method, self.options.widget], layout=w.Layout(min_width="0"))
        for widget, name in ((self.network, "network"), (self.widget, "method")):
            widget.add_class("nbv-question")
            widget.add_class(f"nbv-at-{name}")
        self.follow()
        self.network.observe(self._network_chosen, "value")
        self.method.observe(lambda change: self._set("method", change.new), "value")

    # From the selection to the controls.

    def follow(self) -> None:
        """Show the selection, whatever the controls show."""
        with self._one_at_a_time, self._updating:
            selection = self._selection.snapshot
            shown = self._session.loading or self._key(selection.network)
            asked = shown, len(self._own), self._all
            if asked != self._asked:  # to look for what was downloaded takes its time
                self._asked, self.network.options = asked, self._offered(shown)
            self.network.value = shown
            titles = tuple((m.title, m.name) for m in methods().values())
            if self.method.options != titles:  # a method may have been added
                self.method.options = titles
            self.method.value = selection.method
            self.method.disabled = not self.uses_method
            method = methods()[selection.method]
            self.method.tooltip = f"How the map is made (Alt+M). {method.title}: {_first_sentence(method.doc)}"
            self.options.show(method.options if self.uses_method else {}, selection.options)
            self.options.about.value = _first_sentence(method.doc) if self.uses_method else ""

    def _key(self, network: Network) -> str:
        """What stands for a network in the menu: its name, where that brings it back or is its own alone."""
        known = next((key for key, own in self._own.items() if own is network), None)
        if known is not None:
            return known
        named = network.name in networks()
        if named and network.origin == f"load_network({network.name!r})":
            return network.name
        key = f"{network.name} (yours)" if named else network.name
        number = 1
        while key in self._own:  # trained and not, both may carry one name
            number += 1
            key = f"{network.name} ({number})"
        self._own[key] = network
        return key

    def _offered(self, shown: str) -> tuple[tuple[str, str], ...]:
        """The networks that are here: the reader's own, the bundled one, those downloaded; and all others when asked for."""
        here = {key: key if key.endswith(")") or net.origin else f"{key} (yours)" for key, net in self._own.items()}
        here[bundled.NAME] = f"{bundled.NAME} (bundled)"
        others = [name for name in networks() if name not in here]
        for name in others:
            if name == shown or from_torchvision.is_cached(name):
                here[name] = f"{name} (downloaded)" if from_torchvision.is_cached(name) else name
        here.setdefault(shown, shown)
        rest = {name: f"{name} (to download)" for name in others if name not in here} if self._all else {MORE: MORE}
        return tuple((label, key) for key, label in {**here, **rest}.items())

    def show_question(self, snapshot: Snapshot, trace: Trace) -> None:
        """Say what the answer will cost, before it is computed."""
        method, seconds = methods()[snapshot.method], self._session.tracer.seconds_of(snapshot.network)
        text = f"Cost: {method.cost}"
        passes = method.forward_passes(snapshot.options, trace, snapshot.layer if method.needs_layer else None)
        if passes is not None:
            text = f"{passes:.0f} passes" + (f", about {duration(passes * seconds)}" if seconds is not None else "")
        self.options.cost.value = text if self.uses_method else ""

    # From the controls to the selection.

    def _change(self, act: Act) -> None:
        if not self._updating:
            self._attempt(act)

    def _set(self, name: str, value: Any) -> None:
        self._change(lambda: setattr(self._selection, name, value))

    def _network_chosen(self, change: t.Bunch) -> None:
        if self._updating:
            return
        if change.new == MORE:
            self._all = True
            self.follow()
            return
        own = self._own.get(change.new)
        if own is None or own is self._selection.network:
            self._change(lambda: self._session.load(change.new))
        else:
            self._set("network", own)

    def _option_chosen(self, name: str, value: Any) -> None:
        def set_option() -> None:
            default = methods()[self._selection.method].options[name].default
            others = {known: given for known, given in self._selection.options.items() if known != name}
            self._selection.options = others if value == default else {**others, name: value}

        self._change(set_option)


def _first_sentence(doc: str) -> str:
    """The first line of what a method says of itself, without the marks of its markup."""
    return doc.strip().partition("\n")[0].replace("``", "").replace("`", "")
