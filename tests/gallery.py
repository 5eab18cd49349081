"""The gallery of the documentation: ``python -m tests.gallery [name ...]``, or ``make gallery``.

Every method and every recipe on the bundled network, as pictures in ``notebooks/images/gallery``, and the page that shows them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from PIL import Image

import nbcnnviz as nv

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks" / "images" / "gallery"
PAGE = ROOT / "notebooks" / "gallery.md"

PICTURE, TARGET = "cat_above_cup", "espresso"
# What keeps a method of many passes short enough for a page; a paper's numbers are the defaults.
SHORTER: dict[str, dict[str, Any]] = {
    "rise": {"masks": 600},
    "extremal_perturbation": {"steps": 300},
    "kernel_shap": {"samples": 300},
    "score_cam": {"channels": 64},
    "integrated_gradients": {"steps": 24},
    "smooth_grad": {"samples": 24},
    "smooth_grad_squared": {"samples": 24},
    "var_grad": {"samples": 24},
}
RECIPES: dict[str, dict[str, Any]] = {
    "feature_visualization": {"objective": "daisy", "steps": 128},
    "class_model": {"objective": "daisy", "steps": 96},
    "deep_visualization": {"objective": "daisy", "steps": 128},
    "synthesize": {"objective": nv.Channel("blocks.3", 17), "steps": 64},
    "dream": {"image": "coffee", "layer": "blocks.4"},
    "fool": {"image": "chelsea", "to": "goldfish"},
    "invert": {"image": "coffee", "layer": "blocks.2", "steps": 64},
}


def main() -> None:
    """Make the pictures, or those named, and write the page."""
    asked = sys.argv[1:]
    FOLDER.mkdir(parents=True, exist_ok=True)
    net = nv.load_network()
    trace = net.trace(PICTURE)
    lines = [
        "# Gallery",
        "",
        f"Every method, explaining *{TARGET}* on the sample `{PICTURE}` with the bundled network, at the method's own layer. Made",
        "by `make gallery`; methods of many passes with fewer of them than by default, as each caption says.",
    ]
    family = ""
    for name, method in nv.methods().items():
        if method.family != family:
            family = method.family
            lines += ["", f"## {family.capitalize()}"]
        options = SHORTER.get(name, {})
        if not asked or name in asked:
            result = nv.attribute(trace, method=name, target=TARGET, **options)
            drawn = result.picture() if result.view == "picture" else result.overlay()
            _save(nv.teaching.row([trace.pictures[0], drawn], height=224), name)
        given = "".join(f", {key}={value!r}" for key, value in options.items())
        said = method.doc.partition("\n")[0].replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")
        lines += [
            "",
            f"### {method.title}",
            "",
            f"`method={name!r}{given}`; cost: {method.cost}. {said}",
            "",
            f"![{method.title}](images/gallery/{name}.webp)",
        ]
    lines += ["", "## Pictures by gradient ascent"]
    recipes = nv.recipes()
    for name, arguments in RECIPES.items():
        if not asked or name in asked:
            *_, frame = getattr(nv, name)(net, **arguments)
            before = [nv.load_image(arguments["image"])] if "image" in arguments else []
            _save(nv.teaching.row([*before, frame.image], height=224), name)
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        lines += [
            "",
            f"### {recipes[name].title}",
            "",
            f"`nv.{name}(net, {given})`",
            "",
            f"![{recipes[name].title}](images/gallery/{name}.webp)",
        ]
    if not asked or "landing" in asked:
        _landing(net, trace)
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _landing(net: nv.Network, trace: nv.Trace) -> None:
    """The two strips of the landing page."""
    maps = [nv.attribute(trace, method="grad_cam", target=name) for name in ("Egyptian cat", TARGET)]
    _save(nv.teaching.row([trace.pictures[0], *maps], ["input", "Egyptian cat", TARGET], height=224), "two_classes")
    pictures = [Image.open(FOLDER / "feature_visualization.webp")]
    for channel in (nv.Channel("blocks.2", 12), nv.Channel("blocks.3", 17)):
        *_, frame = nv.feature_visualization(net, channel, steps=96)
        pictures.append(frame.image)
    _save(
        nv.teaching.row(pictures, ["daisy", "filter 12 of blocks.2", "filter 17 of blocks.3"], height=224), "looked_for"
    )


def _save(picture: Image.Image, name: str) -> None:
    picture.save(FOLDER / f"{name}.webp", quality=82, method=6)
    print(name)


if __name__ == "__main__":
    main()
