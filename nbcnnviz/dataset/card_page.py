"""A unit card as one HTML page, with every picture in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image
from torch import Tensor

from nbcnnviz.dataset.seeing import SeenPatch, signed_pixels
from nbcnnviz.inside import Links
from nbcnnviz.render import Scale, coloured
from nbcnnviz.render.encoding import data_url

if TYPE_CHECKING:
    from nbcnnviz.dataset.card import UnitCard

_SIDE = 112
_KERNELS = 12

_STYLE = """
.card { font: 14px/1.45 system-ui, sans-serif; color-scheme: light dark; max-width: 980px; }
.card h1 { font-size: 1.3em; margin: 0; } .card h2 { font-size: 1em; margin: 1em 0 .3em; }
.card .row { display: flex; flex-wrap: wrap; gap: 8px 12px; } .card figure { margin: 0; }
.card figcaption, .card p { margin: 0; opacity: .8; font-size: .9em; max-width: 60em; }
.card img { display: inline-block; image-rendering: auto; vertical-align: top; }
.card img.map { image-rendering: pixelated; }
.card table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.card td, .card th { padding: 1px 10px 1px 0; text-align: left; font-weight: normal; }
.card th { opacity: .7; } .card td.n { text-align: right; }
"""


def page(card: UnitCard) -> str:
    """The whole page."""
    title = f"Filter {card.channel} of {card.layer}, {card.network}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>html {{ color-scheme: light dark; }} body {{ margin: 2em; }}</style></head>\n"
        f"<body>{body(card)}</body></html>\n"
    )


def body(card: UnitCard) -> str:
    """The card alone, to be put on a page."""
    parts = [
        f"<h1>Filter {card.channel} of {escape(card.layer)}</h1><p>{escape(card.network)}</p>",
        _heading("What fires it most", _patches(card), card.missing.get("patches", "")),
        _heading("On this picture", _on_picture(card), card.missing.get("projection", "")),
        _heading("Synthesised", _synthesised(card), card.missing.get("synthesised", "")),
        _heading("Weights", _weights(card), card.missing.get("weights", "")),
        _heading("Reads from", _links(card.reads), card.missing.get("reads", "")),
        _heading("Writes to", _links(card.writes), card.missing.get("writes", "")),
        _heading("Classes", _classes(card), card.missing.get("classes", "")),
    ]
    return f'<div class="card"><style>{_STYLE}</style>{"".join(parts)}</div>'


def _heading(title: str, content: str, missing: str) -> str:
    if not content and not missing:
        return ""
    why = f"<p>{escape(missing)}</p>" if missing else ""
    return f"<h2>{escape(title)}</h2>{content}{why}"


def _patches(card: UnitCard) -> str:
    said = []
    if card.fires is not None:
        said.append(f"Fires in {card.fires:.0%} of the pictures")
    said += [f"{q:.0%} quantile {value:.3g}" for q, value in card.quantiles.items()]
    figures = "".join(_patch(seen) for seen in card.patches)
    return f'<div class="row">{figures}</div>' + (f"<p>{escape('; '.join(said))}.</p>" if said else "")


def _patch(seen: SeenPatch) -> str:
    label = f" {seen.label}" if seen.label else ""
    both = image(seen.pixels, "patch", _SIDE)
    if seen.projected_pixels is not None:
        both += image(seen.projected_pixels, "its projection", _SIDE)
    title = f"{seen.patch.key}, row {seen.patch.row}, column {seen.patch.column}"
    return (
        f'<figure title="{escape(title)}">{both}<figcaption>{seen.patch.value:.3g}{escape(label)}</figcaption></figure>'
    )


def _on_picture(card: UnitCard) -> str:
    figures = [(image(np.asarray(card.picture), "the picture", 224), "the picture")]
    if card.maps.numel() > 1:
        pixels = coloured(card.maps, Scale.to_show(card.maps))
        figures.append((image(pixels, "its map", 224, "map"), f"its map, up to {float(card.maps.max()):.3g}"))
    if card.projection is not None:
        unit = card.projection.unit
        said = f"projection of the strongest unit, row {unit.row}, column {unit.column}: {unit.value:.3g}"
        figures.append((image(signed_pixels(card.projection.values), "its projection", 224), said))
    return _row(figures)


def _synthesised(card: UnitCard) -> str:
    if card.synthesised is None:
        return ""
    return _row([(image(np.asarray(card.synthesised), "synthesised", 224), "made by gradient ascent on its mean")])


def _weights(card: UnitCard) -> str:
    row, found = card.row, card.weights
    if row is None or found is None:
        return ""
    norm = float(row.float().norm())
    said = f"<p>{escape(found.parameter)}: norm {norm:.3g}, {' x '.join(map(str, row.shape)) or 'one number'}.</p>"
    if found.kind == "rgb":
        return _row([(image(signed_pixels(row), "its kernel", 96, "map"), "its kernel")]) + said
    if found.kind == "kernels":
        norms = row.float().flatten(1).norm(dim=1)
        order = norms.argsort(descending=True)[:_KERNELS].tolist()
        inputs = found.inputs[card.channel % len(found)].tolist() if found.inputs is not None else range(len(row))
        scale = Scale(-float(row.abs().max()), float(row.abs().max()))
        figures = [
            (image(coloured(row[i], scale), f"kernel {inputs[i]}", 48, "map"), f"from {inputs[i]}") for i in order
        ]
        return _row(figures) + said
    return said


def _links(links: Links | None) -> str:
    if links is None:
        return ""
    orders: tuple[Literal["norm", "contribution"], ...] = ("norm", "contribution")
    tables = []
    for by in orders:
        rows = [(str(k.channel), f"{k.norm:.3g}", f"{k.contribution:.3g}") for k in links.strongest(by, 6)]
        title = "strongest weights" if by == "norm" else "most on this picture"
        tables.append(
            f"<figure>{_table(('filter', 'norm', 'contribution'), rows)}<figcaption>{title}</figcaption></figure>"
        )
    where = escape(links.layer if links.layer == links.through else f"{links.layer}, through {links.through}")
    return f'<p>{where}</p><div class="row" style="gap: 8px 48px">{"".join(tables)}</div>'


def _classes(card: UnitCard) -> str:
    tables = []
    if card.classes:
        rows = [(name, f"{value:.3g}") for name, value in card.classes]
        tables.append(_table(("class", "gradient x activation, on this picture"), rows))
    if card.labels:
        rows = [(name, f"{value:.3g}") for name, value in card.labels]
        tables.append(_table(("label", "mean of its strongest activation"), rows))
    return f'<div class="row" style="gap: 8px 48px">{"".join(tables)}</div>' if tables else ""


def _row(figures: Sequence[tuple[str, str]]) -> str:
    each = "".join(f"<figure>{picture}<figcaption>{escape(said)}</figcaption></figure>" for picture, said in figures)
    return f'<div class="row">{each}</div>'


def _table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td{' class=n' if i else ''}>{escape(cell)}</td>" for i, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def image(pixels: np.ndarray | Tensor, alt: str, width: int, style: str = "") -> str:
    """Pixels (h, w, 3) uint8 as an ``img`` with its file in it."""
    source = data_url(Image.fromarray(np.asarray(pixels)))
    return f'<img class="{style}" width="{width}" alt="{escape(alt)}" src="{source}">'
