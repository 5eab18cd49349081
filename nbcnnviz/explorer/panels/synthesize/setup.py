"""What a run is to be: the recipe, what it is asked to please, and what cannot be moved once it goes on."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as w
from PIL import Image

from nbcnnviz.core.errors import NbcnnvizError
from nbcnnviz.core.network import Network
from nbcnnviz.explorer.labels import class_labels
from nbcnnviz.explorer.panels.synthesize.question import KINDS, Kind, Question, Subject
from nbcnnviz.synthesis import Recipe, recipes
from nbcnnviz.synthesis.dreaming import LARGEST

_OWN = "the recipe's own"
_METHODS = {
    "ascent": ("CS231n: normalised ascent", 0.1),
    "pgd": ("PGD: signs, within a bound", 0.5),
    "fgsm": ("FGSM: one step of the bound", 0.0),
}


class Setup:
    """Controls for what a run is to be; ``main`` always in sight, ``others`` to be unfolded.

    Parameters
    ----------
    changed
        Called when the reader changed something that the words depend on.
    retuned
        Called when the numbers that a run starts from are others: for another recipe.
    """

    def __init__(self, changed: Callable[[], None], retuned: Callable[[], None]) -> None:
        self._changed, self._retuned = changed, retuned
        self._network: Network | None = None
        self._labels: dict[str, int] = {}
        self._about: tuple[Any, ...] = ()
        self.kind: Kind = "class"

        self.recipe = w.Dropdown(
            options=[(found.title, name) for name, found in recipes().items()],
            value="feature_visualization",
            description="Recipe",
            tooltip="How the picture is made",
            **_field("64px"),
        )
        self.several = w.Text(
            description="Side by side",
            placeholder="3, 17, 20-25",
            tooltip="Filters, or classes, that get a picture each, all in one run; empty for the one selected",
            continuous_update=False,
            **_field("84px"),
        )
        self.kinds: dict[Kind, w.ToggleButton] = {
            kind: w.ToggleButton(description=kind.title(), tooltip=tooltip, layout=w.Layout(width="64px"))
            for kind, tooltip in KINDS.items()
        }
        self.verb, self.words = (w.HTML(layout=w.Layout(margin="0", min_width="0")) for _ in range(2))
        self.choice = w.HBox([*self.kinds.values()])
        self.aims = w.HBox(
            [self.verb, self.choice, self.words],
            layout=w.Layout(align_items="center", flex_flow="row wrap", grid_gap="2px 8px"),
        )
        self.to = w.Combobox(
            description="Turn into",
            placeholder="the least likely class; type to search",
            tooltip="The class that the picture is to be taken for",
            continuous_update=False,
            **_field("64px"),
        )
        self.how = w.Dropdown(
            options=[(title, how) for how, (title, _) in _METHODS.items()],
            description="Method",
            tooltip="How the picture is changed",
            **_field("64px"),
        )
        self.bound = w.BoundedFloatText(
            value=4, min=0.5, max=255, step=0.5,
            description="Bound", tooltip="The most that a pixel may change, in levels of 255", **_field("64px"),
        )  # fmt: skip
        self.steps = _number("Steps", "How many; for a dream, at each octave", 1, 100_000)
        self.size = _number("Size", "The longer side of the picture, in pixels", 8, 2048)
        self.seed = _number("Seed", "Of every random number: the same seed makes the same run", 0, 2**31 - 1)
        self.main = _grid(
            [self.recipe, self.several, self.to, self.how, self.bound, _row(self.steps, self.size, self.seed)]
        )
        self.parameterization = _choice(
            "Parameterization", "What the picture is made of", "fourier", "pixels", label_width="104px"
        )
        self.optimiser = _choice("Optimiser", "How a gradient becomes a step", "adam", "ascent", "normalised")
        self.start = _choice("Start", "What the run starts from", "noise", "mean", "picture")
        self.octaves = _number("Octaves", "How many sizes a dream goes through", 1, 12, room="64px")
        self.octaves.value = 4
        self.others = _grid([self.parameterization, self.optimiser, self.start, self.octaves])

        self._usual: int | None = None
        self._show_what_is_taken()
        self.steps.value = self.chosen.steps
        self.recipe.observe(lambda _: self._another_recipe(), "value")
        self.how.observe(lambda _: self._another_method(), "value")
        for control in (self.several, self.to):
            control.observe(lambda _: changed(), "value")
        for kind, button in self.kinds.items():
            button.observe(self._chooser(kind), "value")

    @property
    def chosen(self) -> Recipe:
        """The recipe."""
        return recipes()[self.recipe.value]

    @property
    def inputs(self) -> list[Any]:
        """All that cannot be changed while a run goes on."""
        return [
            *(self.recipe, self.several, self.to, self.how, self.bound, self.steps, self.size, self.seed),
            *(self.parameterization, self.optimiser, self.start, self.octaves),
        ]

    # What is asked for.

    def question(self, subject: Subject) -> Question:
        """The objective; for a fooling image, the class wanted."""
        if self.chosen.name == "fool":
            words = f"class {self.to.value.strip()}" if self.to.value.strip() else "the least likely class"
            return Question(None, words, (words,))
        if self.chosen.name == "invert":
            subject.question("layer")
            assert subject.layer is not None
            return Question(subject.layer, f"the output of {subject.layer}", (subject.layer,))
        return subject.question(self.kind, self.several.value if self._in_sight(self.several) else "")

    def options(self, network: Network, image: Image.Image) -> dict[str, Any]:
        """What the recipe is called with besides; the controls apart."""
        name, options = self.chosen.name, {"steps": self.steps.value, "seed": self.seed.value}
        if name == "fool":
            to = self.to.value.strip()
            return options | {
                "to": self._labels.get(to, to) if to else None,
                "how": self.how.value,
                "bound": self.bound.value,
            }
        usual = self._usual_size(network, image)
        size = None if self.size.value == usual else self.size.value
        if name == "dream":
            height, width = image.height, image.width
            options["octaves"] = self.octaves.value
        else:
            _, height, width = network.input_shape
            given = {
                "parameterization": self.parameterization.value,
                "optimiser": self.optimiser.value,
                "start": self.start.value,
            }
            options |= {n: v for n, v in given.items() if v != _OWN}
        if size is not None:
            scale = size / max(height, width)
            options["size"] = max(1, round(height * scale)), max(1, round(width * scale))
        return options

    @property
    def learning_rate(self) -> float | None:
        """The learning rate that the choices here call for, where it is not the recipe's."""
        return _METHODS[self.how.value][1] if self.chosen.name == "fool" else None

    # What is offered, and what is greyed out.

    def follow(self, subject: Subject, image: Image.Image, said: str | None) -> None:
        """Offer what the selection has and say what is asked for; while a run goes on, ``said`` is what, and all is fixed."""
        busy = said is not None
        if subject.network is not self._network:
            self._network, self._about, self._usual = subject.network, (), None
            self._labels = class_labels(subject.network)
            with self.to.hold_sync():
                self.to.options, self.to.value = list(self._labels), ""
        if not busy:
            self._follow_size(subject.network, image)
            self._follow_kind((subject.target, subject.filter, subject.unit), subject.natural)
            if subject.lacks(self.kind, self.several.value):
                self.kind = subject.natural
        fools, how = self.chosen.name == "fool", self.how.value
        for control in self.inputs:
            control.disabled = busy
        self.steps.disabled = busy or (fools and how == "fgsm")
        self.bound.disabled = busy or how == "ascent"
        for kind, button in self.kinds.items():
            lack = subject.lacks(kind, self.several.value)
            button.disabled = busy or bool(lack)
            button.tooltip = lack or KINDS[kind]
            button.value = kind == self.kind
        verb = {"fool": "Turn the picture into", "invert": "Make again"}.get(self.chosen.name, "Raise")
        if said is None:
            try:
                said = self.question(subject).words
            except NbcnnvizError as error:
                verb, said = "", str(error)
        self.verb.value, self.words.value = verb, f"<b>{escape(said)}</b>"

    def _follow_kind(self, about: tuple[Any, ...], natural: Kind) -> None:
        """Ask for what the selection turned to; another layer, which forgets the unit, is still asked for as a layer."""
        before, self._about = self._about, about
        *others, unit = about
        if about != before and not (self.kind == "layer" and before and others == [*before[:2]] and unit is None):
            self.kind = natural

    def _follow_size(self, network: Network, image: Image.Image) -> None:
        usual = self._usual_size(network, image)
        if self.size.value == self._usual or self._usual is None:
            self.size.value = usual
        self._usual = usual

    def _chooser(self, kind: Kind) -> Callable[[Any], None]:
        def choose(change: Any) -> None:
            if change.new and kind != self.kind:
                self.kind = kind
                self._changed()
            elif not change.new and kind == self.kind:
                self.kinds[kind].value = True  # one of them always is

        return choose

    def _another_recipe(self) -> None:
        """Show what the recipe takes, with its own numbers."""
        self._show_what_is_taken()
        if self.chosen.name == "dream":
            self.kind = "layer"
        self._usual = None
        self._another_method()

    def _show_what_is_taken(self) -> None:
        found = self.chosen
        fools, dreams, inverts = (found.name == name for name in ("fool", "dream", "invert"))
        in_sight = {
            self.choice: not fools and not inverts,
            self.several: found.takes == "objective",
            **dict.fromkeys((self.to, self.how, self.bound), fools),
            self.size: not fools,
            self.octaves: dreams,
            **dict.fromkeys((self.parameterization, self.optimiser, self.start), not fools and not dreams),
        }
        for control, shown in in_sight.items():
            control.layout.display = None if shown else "none"

    def _another_method(self) -> None:
        self.steps.value = 1 if self.chosen.name == "fool" and self.how.value == "fgsm" else self.chosen.steps
        self._retuned()
        self._changed()

    def _in_sight(self, control: w.Widget) -> bool:
        return control.layout.display != "none"

    def _usual_size(self, network: Network, image: Image.Image) -> int:
        return min(LARGEST, max(image.size)) if self.chosen.name == "dream" else max(network.input_shape[1:])


def _field(label: str) -> dict[str, Any]:
    return {
        "style": {"description_width": label},
        "layout": w.Layout(width="auto", min_width="0", margin="0"),
    }


def _number(label: str, tooltip: str, least: int, most: int, room: str = "40px") -> w.BoundedIntText:
    layout = w.Layout(flex="1 1 96px", width="auto", min_width="0", max_width="128px", margin="0")
    field = {"style": {"description_width": room}, "layout": layout}
    return w.BoundedIntText(value=least, min=least, max=most, description=label, tooltip=tooltip, **field)


def _choice(label: str, tooltip: str, *names: str, label_width: str = "64px") -> w.Dropdown:
    options = [(_OWN, _OWN), *((name, name) for name in names)]
    return w.Dropdown(options=options, value=_OWN, description=label, tooltip=tooltip, **_field(label_width))


def _row(*widgets: w.Widget) -> w.HBox:
    return w.HBox(widgets, layout=w.Layout(flex_flow="row wrap", grid_gap="2px 8px", min_width="0"))


def _grid(widgets: list[w.Widget]) -> w.GridBox:
    return w.GridBox(
        widgets, layout=w.Layout(grid_template_columns="repeat(auto-fit, minmax(230px, 1fr))", grid_gap="4px 16px")
    )
