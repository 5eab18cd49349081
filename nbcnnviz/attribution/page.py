"""The page of methods, written from the register: ``python -m nbcnnviz.attribution.page notebooks/methods.md``."""

from __future__ import annotations

import sys
from pathlib import Path

from nbcnnviz.attribution import methods
from nbcnnviz.attribution.method import Method
from nbcnnviz.core.markdown import options_table, plain, table

_FAMILIES = {
    "gradients": "Gradients",
    "cams": "Class activation maps",
    "paths": "Many gradients: along a path, under noise",
    "perturbation": "Perturbation",
    "propagation": "Propagation of relevance",
}

_OPENING = """\
# Methods

Every method of `nv.attribute`, written from its declaration by `python -m nbcnnviz.attribution.page notebooks/methods.md`.

In the formulas $S$ is the target's score: of a class the logit, never the probability, unless $P$ says so. $I$ or $x$ is the
input as the network takes it, $A_k$ the $k$-th map of a layer, $g$ the gradient there, $\\uparrow$ bilinear upsampling,
$\\mathrm{relu}(x) = \\max(x, 0)$. Costs are in forward (F) and backward (B) passes beside the forward pass that all methods
of a trace share. No method here is a proof of why a network decides as it does: read several, and judge them with
`nv.metrics`.
"""


def page() -> str:
    """The whole page, in Markdown with formulas for MathJax."""
    known = methods()
    families = list(dict.fromkeys([*_FAMILIES, *(m.family for m in known.values())]))
    parts = [_OPENING, _overview(list(known.values()))]
    for family in families:
        members = [m for m in known.values() if m.family == family]
        if members:
            parts += [f"## {_FAMILIES.get(family, family.capitalize())}", *(section(m) for m in members)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def section(method: Method) -> str:
    """What there is to say of one method, in Markdown."""
    about = method.about
    call = f'`nv.attribute(net, picture, method="{method.name}")`'
    facts = [
        ("source", about.source),
        ("looks at", _looks_at(method)),
        ("cost", method.cost),
        ("promises", about.promises),
        ("known weaknesses", about.weaknesses),
        ("tested against", about.oracle),
    ]
    parts = [f"### {method.title}", call, plain(method.doc)]
    if about.formula:
        parts.append(f"$$\n{about.formula}\n$$")
    parts.append(table(("", ""), ((f"**{name}**", text) for name, text in facts if text)))
    if method.options:
        parts.append(options_table(method.options))
    return "\n\n".join(parts)


def _overview(known: list[Method]) -> str:
    return table(
        ("method", "name", "looks at", "cost"),
        ((m.title, f"`{m.name}`", _looks_at(m), m.cost) for m in known),
    )


def _looks_at(method: Method) -> str:
    if method.looks_at is not None:
        return "the maps of several layers"
    if method.needs_layer:
        return "a layer's maps, and the input" if method.needs_input else "a layer's maps"
    return "the input"


def main() -> None:
    """Write the page to the file named, or to the screen."""
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())


if __name__ == "__main__":
    main()
