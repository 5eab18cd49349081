"""The page of recipes, written from the register: ``python -m nbcnnviz.synthesis.page notebooks/recipes.md``."""

from __future__ import annotations

import sys
from pathlib import Path

from nbcnnviz.core.markdown import options_table, plain, shown, table
from nbcnnviz.core.options import Option
from nbcnnviz.synthesis import recipes
from nbcnnviz.synthesis.recipe import Recipe

_OPENING = """\
# Recipes

Every way to make a picture by gradient ascent, written from its declaration by
`python -m nbcnnviz.synthesis.page notebooks/recipes.md`. Each is a generator of frames: `*_, last = nv.synthesize(net, 281)`.
"""

_COMMON = """\
## Options that recipes share

With the defaults of `synthesize`; under each recipe are those that it sets otherwise, and its own.
"""


def page() -> str:
    """The whole page, in Markdown."""
    known = recipes()
    common = known["synthesize"].options
    parts = [_OPENING, table(("recipe", "name", "takes", "steps"), (_row(recipe) for recipe in known.values()))]
    parts += [section(recipe, common) for recipe in known.values()]
    parts += [_COMMON, options_table(common)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def section(recipe: Recipe, common: dict[str, Option]) -> str:
    """What there is to say of one recipe, in Markdown."""
    asked = "281" if recipe.takes == "objective" else '"chelsea"'
    parts = [f"## {recipe.title}", f"`nv.{recipe.name}(net, {asked})`", plain(recipe.doc)]
    own = {name: option for name, option in recipe.options.items() if name not in common}
    other = [
        (f"`{name}`", f"`{shown(option.default)}`", f"`{shown(common[name].default)}`")
        for name, option in recipe.options.items()
        if name in common and option.default != common[name].default
    ]
    if own:
        parts.append(options_table(own))
    if other:
        parts.append(table(("set otherwise", "here", "else"), other))
    return "\n\n".join(parts)


def _row(recipe: Recipe) -> tuple[str, ...]:
    takes = "a target" if recipe.takes == "objective" else "a picture"
    return recipe.title, f"`{recipe.name}`", takes, str(recipe.steps)


def main() -> None:
    """Write the page to the file named, or to the screen."""
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())


if __name__ == "__main__":
    main()
