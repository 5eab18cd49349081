"""What a run is to be: the recipe, what it is asked to raise, and its options."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as w
from PIL import Image

from nbcnnviz.core.errors import NbcnnvizError
from nbcnnviz.core.network import Network
from nbcnnviz.core.options import Option, checked, in_force
from nbcnnviz.explorer.options import OptionControls
from nbcnnviz.explorer.widgets.layout import menu, reveal, row, set_traits
from nbcnnviz.session import Snapshot
from nbcnnviz.synthesis import Controls, Recipe, recipes
from nbcnnviz.synthesis.controls import CONTROLS
from nbcnnviz.synthesis.subject import KINDS, Kind, Question, Subject

_LABEL_WIDTH = 148


class Setup:
    """Controls for what a run is to be, drawn from what the recipes declare.

    Parameters
    ----------
    changed
        Called when the reader changed something that the words depend on.
    moved
        Called with the name and the value of a control that acts on a run that goes on.

    Attributes
    ----------
    values : dict[str, Any]
        The options that are not as the recipe has them.
    """

    def __init__(self, changed: Callable[[], None], moved: Callable[[str, Any], None]) -> None:
        self._changed, self._moved = changed, moved
        self._network: Network | None = None
        self._about: tuple[Any, ...] = ()
        self.kind: Kind | None = None  # the natural one of recipe and selection, as long as none is chosen
        self._current: Kind = "class"
        self.values: dict[str, Any] = {}
        titles = [(found.title, name) for name, found in recipes().items()]
        self.recipe = menu("Recipe", "How the picture is made", titles, "feature_visualization", basis=220)
        self.recipe.layout.max_width = "300px"
        self.several = w.Text(
            description="Gallery",
            placeholder="3, 17, 20-25",
            tooltip="Several filters, or classes, side by side: a picture for each, all in one run; empty for the one selected",
            continuous_update=False,
            style={"description_width": f"{_LABEL_WIDTH}px"},
            layout=w.Layout(width="auto", min_width="0", margin="0"),
        )
        self.kinds: dict[Kind, w.ToggleButton] = {
            kind: w.ToggleButton(
                description=kind.title(), tooltip=tooltip, layout=w.Layout(width="60px", margin="0 2px 0 0")
            )
            for kind, tooltip in KINDS.items()
        }
        self.verb, self.words = (w.HTML(layout=w.Layout(margin="0", min_width="0")) for _ in range(2))
        self.words.layout.flex = "1 1 160px"
        self.choice = w.HBox([*self.kinds.values()])
        self.aims = row(self.verb, self.choice, self.words, gap="2px 8px")
        self.main = OptionControls(self._set)
        self.fixed, self.live = OptionControls(self._set, _LABEL_WIDTH), OptionControls(self._set, _LABEL_WIDTH)
        self._show_options(None, False)
        self.recipe.observe(self._another_recipe, "value")
        self.several.observe(lambda _: changed(), "value")
        for kind, button in self.kinds.items():
            button.observe(self._chooser(kind), "value")

    @property
    def chosen(self) -> Recipe:
        """The recipe."""
        return recipes()[self.recipe.value]

    @property
    def controls(self) -> dict[str, Any]:
        """The widget of each option that has one."""
        return {**self.main.controls, **self.fixed.controls, **self.live.controls}

    # What is asked for.

    def question(self, subject: Subject) -> Question:
        """What is to be raised; nothing where the recipe's options say it all."""
        if self.chosen.raises == "":
            return Question(None, self.chosen.title, (self.chosen.title,))
        if self.chosen.raises == "layer":
            subject.question("layer")
            assert subject.layer is not None
            return Question(subject.layer, f"the output of {subject.layer}", (subject.layer,))
        return subject.question(self._kind(subject), self.several.value if self._has_gallery else "")

    def options(self, network: Network, image: Image.Image) -> dict[str, Any]:
        """What the recipe is called with besides, where that is not its default; without what acts on a run that goes on.

        Raises
        ------
        OptionValueError
            For what an option cannot be.
        """
        known = self.chosen.options
        given = {name: value for name, value in self._in_force.items() if value != known[name].default}
        found = checked(known, {n: v for n, v in given.items() if n not in CONTROLS}, self.chosen.title)
        if isinstance(found.get("size"), int):  # the longer side
            height, width = image.size[::-1] if self.chosen.takes == "picture" else network.input_shape[1:]
            scale = found["size"] / max(height, width)
            found["size"] = max(1, round(height * scale)), max(1, round(width * scale))
        return found

    def settings(self) -> Controls:
        """What acts on a run that goes on."""
        return Controls().copy(**{name: value for name, value in self._in_force.items() if name in CONTROLS})

    @property
    def _in_force(self) -> dict[str, Any]:
        return in_force(self.chosen.options, self.values)

    @property
    def steps(self) -> int:
        """How many steps there will be in all."""
        return self.chosen.total(self._in_force)

    @property
    def _has_gallery(self) -> bool:
        return self.chosen.takes == "objective" and self.chosen.raises == "target"

    def _kind(self, subject: Subject) -> Kind:
        return self.kind or ("layer" if self.chosen.takes == "picture" else subject.natural)

    # What is offered, and what is greyed out.

    def follow(self, subject: Subject, said: str | None) -> None:
        """Offer what the selection has and say what is asked for; while a run goes on, ``said`` is what, and all is fixed."""
        busy = said is not None
        if not busy:
            self._follow_subject(subject)
        self._show_options(subject.network, busy)
        set_traits(self.recipe, disabled=busy)
        set_traits(self.several, disabled=busy)
        reveal(self.several, self._has_gallery)
        reveal(self.aims, self.chosen.raises != "")
        reveal(self.choice, self.chosen.raises == "target")
        self._current = self._kind(subject)
        for kind, button in self.kinds.items():
            lack = subject.lacks(kind, self.several.value)
            set_traits(button, disabled=busy or bool(lack), tooltip=lack or KINDS[kind], value=kind == self._current)
        verb = "Match" if self.chosen.raises == "layer" else "Maximize"
        if said is None:
            try:
                said = self.question(subject).words
            except NbcnnvizError as error:
                verb, said = "", str(error)
        set_traits(self.verb, value=verb)
        set_traits(self.words, value=f"<b>{escape(said)}</b>")

    def _follow_subject(self, subject: Subject) -> None:
        """Ask for what the selection turned to; another layer, which forgets the filter, is still asked for as a layer."""
        if subject.network is not self._network:
            if self._network is not None:
                self.several.value, self.kind = "", None
                self.values = {name: value for name, value in self.values.items() if self._fits(name)}
            self._network, self._about = subject.network, ()
        before, self._about = self._about, (subject.target, subject.filter, subject.unit)
        stays = self._kind(subject) == "layer" and self._about[:2] == (before[0] if before else None, None)
        if before and self._about != before and not stays:
            self.kind = subject.natural
        if self.kind is not None and subject.lacks(self.kind, self.several.value):
            self.kind = None

    def _fits(self, name: str) -> bool:
        """Whether what was chosen makes sense for another network, too."""
        return self.chosen.options[name].kind not in ("class", "size")

    def _show_options(self, network: Network | None, busy: bool) -> None:
        known = self.chosen.options
        shown: tuple[dict[str, Option], ...] = ({}, {}, {})
        for name, option in known.items():
            shown[0 if option.main else 2 if name in CONTROLS else 1][name] = option
        for part, options in zip((self.main, self.fixed, self.live), shown, strict=True):
            part.show(options, self._in_force, network, busy and part is not self.live)

    def _chooser(self, kind: Kind) -> Callable[[Any], None]:
        def choose(change: Any) -> None:
            if change.new and kind != self._current:
                self.kind = self._current = kind
                self._changed()
            elif not change.new and kind == self._current:
                self.kinds[kind].value = True  # one of them always is

        return choose

    def _another_recipe(self, _: Any) -> None:
        """Show what the recipe takes, with its own numbers; and ask for what suits it."""
        self.values, self.kind = {}, None
        self._changed()

    def _set(self, name: str, value: Any) -> None:
        """Take what the reader set; what is the default by now is forgotten."""
        others = {known: given for known, given in self.values.items() if known != name}
        usual = in_force(self.chosen.options, others)[name]
        self.values = others if value == usual else {**others, name: value}
        if name in CONTROLS:
            self._moved(name, value)
        self._changed()


def subject_of(s: Snapshot) -> Subject:
    """What a run could be about, at a moment of the selection."""
    return Subject(s.network, s.class_, s.layer, s.filter, s.unit)
