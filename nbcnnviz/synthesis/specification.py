"""What a run is asked to be, from the recipe to the frame that it goes on from."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from nbcnnviz.core.network import Network
from nbcnnviz.core.targets import ClassScore
from nbcnnviz.synthesis.controls import Controls
from nbcnnviz.synthesis.fooling import Fooled
from nbcnnviz.synthesis.frame import Frame
from nbcnnviz.synthesis.recipe import Recipe

SELECTED = "picture"
"""What stands for the picture itself where an option asks for a picture to start from."""


@dataclass(frozen=True)
class Specification:
    """What a run was asked to be.

    Attributes
    ----------
    source
        Where the picture came from: a sample's name, a path, or "".
    objective
        What a recipe is given to please, a list for a gallery; None for the class that the network sees in the picture.
    words, titles
        The objective in words, and that of each picture of a gallery.
    filters
        The layer, and for each picture of a gallery the filter it is of.
    start
        The frame that the run goes on from, and the step at which it was.
    """

    recipe: Recipe
    network: Network
    image: Image.Image
    source: str
    objective: Any
    words: str
    titles: tuple[str, ...]
    controls: Controls
    options: dict[str, Any] = field(default_factory=dict)
    filters: tuple[str, tuple[int, ...]] | None = None
    start: tuple[int, Frame] | None = None

    def named(self) -> Specification:
        """The same with the class that the network sees in the picture named, where it asks for that one."""
        if self.objective is not None or self.recipe.raises == "":
            return self
        net = self.network
        index = int(net.head.best(net.scores(self.image)))
        words = f"class {ClassScore(index).describe(net)}"
        return replace(self, objective=index, words=words, titles=(words,))

    def frames(self) -> Generator[Frame, None, None]:
        """Begin."""
        recipe, net, options = self.recipe, self.network, {"controls": self.controls, **self.options}
        picture: Any = self.image
        if self.start is not None:
            frame = self.start[1]
            # A picture that is changed goes on from a frame in its place, unless that was another of its steps.
            if "start" not in recipe.options or (recipe.raises == "" and not isinstance(frame, Fooled)):
                picture = frame
                options.pop("size", None)
            else:
                options["start"] = frame
                if "size" in recipe.options:
                    size = tuple(frame.input.shape[2:])
                    options["size"] = None if size == net.input_shape[1:] else size
        elif options.get("start") == SELECTED:
            options["start"] = picture
        given = [picture] if recipe.takes == "picture" else []
        return recipe.run(net, *given, *([self.objective] if recipe.raises else []), **options)

    def titles_of(self, count: int) -> list[str]:
        """What each of so many pictures is of."""
        if count == len(self.titles):
            return list(self.titles)
        return [f"{self.titles[0]}, {number}" for number in range(1, count + 1)]

    def code(self, frame: Frame, image: str) -> list[str]:
        """The lines that make one of its frames again, where ``net`` is given and ``image`` is the picture's expression."""
        made = frame.provenance
        names, *lines = filter(None, made.code.splitlines())
        given = [f"image = {image}"] if re.search(r"\bimage\b", made.code) else []
        return [names, *given, *lines, f"frame = {made.found(frame.step)}"]
