"""What the Compare panel says: the matrix of correlations, the table of scores, what is left out, as HTML."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

from nbcnnviz.attribution import methods
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.panels.compare.frames import shown
from nbcnnviz.explorer.widgets.layout import hint
from nbcnnviz.metrics import METRICS, Comparison, Judged
from nbcnnviz.metrics.questions import passes_of

_CELL = "padding: 1px 4px; text-align: right; white-space: nowrap; line-height: 1.5"
_HEAD = "padding: 1px 6px 1px 2px; text-align: left; white-space: nowrap; font-weight: 400; line-height: 1.5"
_NAME = 22
_ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}
_NO_VERDICT = (
    "In brackets what chance gives. Metrics contradict one another, and some reward blur: no number is a verdict."
)


def matrix(comparison: Comparison | None) -> str:
    """The rank correlations between all pairs, each cell tinted by its value: blue above zero, orange below."""
    places = [at for at, entry in shown(comparison) if entry.result is not None] if comparison is not None else []
    if comparison is None or len(places) < 2:
        return hint("The rank correlations between all pairs of maps come here, as soon as there are two.")
    head = "".join(f"<th scope='col' style='{_CELL}; font-weight: 400'>{i}</th>" for i in range(1, len(places) + 1))
    rows = []
    for number, at in enumerate(places, 1):
        entry = comparison.entries[at]
        name = f"{number} {_short(entry.name)}"
        name = f"<b>{html.escape(name)}</b>" if entry.chosen else html.escape(name)
        cells = "".join(_correlation(float(comparison.correlations[at, other])) for other in places)
        rows.append(f"<tr><th scope='row' style='{_HEAD}' title='{html.escape(entry.name)}'>{name}</th>{cells}</tr>")
    says = hint("Spearman's rank correlation of each pair: 1 the same order of places, 0 what unrelated maps have.")
    return (
        f"{says}<div style='overflow: auto' tabindex='0' role='group' aria-label='Rank correlations'>"
        "<table style='border-collapse: collapse; font-size: 11px'>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _correlation(value: float) -> str:
    if math.isnan(value):
        return f"<td style='{_CELL}'>-</td>"
    tint = "25, 118, 210" if value >= 0 else "224, 138, 30"
    return f"<td style='{_CELL}; background: rgba({tint}, {0.55 * abs(value):.2f})'>{value:z.2f}</td>"


def scores(comparison: Comparison | None, judged: Mapping[int, Sequence[Judged]]) -> str:
    """The table of scores: a row a map, a column a metric; with what chance gives, and what each score means."""
    if comparison is None or not judged:
        return hint(
            "Choose metrics and press Judge: a table of scores comes here, with what chance gives and what each means; no "
            "number of them is a verdict."
        )
    if len(judged) == 1:
        return _of_one(comparison, *next(iter(judged.items())))
    names = [n for n in METRICS if any(found.metric.name == n for rows in judged.values() for found in rows)]
    head = "".join(
        f"<th scope='col' style='{_CELL}; font-weight: 600'>{html.escape(METRICS[n].title)}{_ARROWS[METRICS[n].better]}</th>"
        for n in names
    )
    rows, meanings, reasons = [], dict[str, str](), dict[str, str]()
    for at, found in judged.items():
        by_name = {one.metric.name: one for one in found}
        cells = "".join(_score(by_name.get(name)) for name in names)
        entry = comparison.entries[at]
        label = f"<b>{html.escape(entry.name)}</b>" if entry.chosen else html.escape(entry.name)
        rows.append(f"<tr><th scope='row' style='{_HEAD}'>{label}</th>{cells}</tr>")
        for one in found:
            if one.score is not None:
                meanings[one.metric.title] = one.score.meaning
            elif one.metric.title not in reasons:
                reasons[one.metric.title] = f"- {entry.name}: {one.error}"
    said = "".join(
        f"<div><b>{html.escape(t)}</b> {html.escape(meanings.get(t) or reasons[t])}</div>"
        for t in (METRICS[n].title for n in names)
    )
    return (
        "<div style='overflow: auto' tabindex='0' role='group' aria-label='Scores'>"
        "<table style='border-collapse: collapse; font-size: 12px'>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        f"<div class='nbv-hint' style='line-height: 1.4; margin-top: 4px'>{said}"
        f"<div>{_NO_VERDICT}</div></div>"
    )


def _of_one(comparison: Comparison, at: int, judged: Sequence[Judged]) -> str:
    """The scores of one map: a row a metric."""
    rows = "".join(
        f"<tr style='vertical-align: top'><th scope='row' style='{_HEAD}'>{html.escape(one.metric.title)}"
        f"{_ARROWS[one.metric.better]}</th>{_score(one)}"
        f"<td class='nbv-hint' style='padding: 1px 4px; line-height: 1.35; white-space: normal'>"
        f"{html.escape(one.error if one.score is None else one.score.meaning)}</td></tr>"
        for one in judged
    )
    return (
        f"<table aria-label='Scores' style='border-collapse: collapse; font-size: 12px'><tbody>{rows}</tbody></table>"
        f"<div class='nbv-hint' style='line-height: 1.4'>Of {html.escape(comparison.entries[at].name)}. {_NO_VERDICT}</div>"
    )


def _score(found: Judged | None) -> str:
    if found is None:
        return f"<td style='{_CELL}'></td>"
    if found.score is None:
        return f"<td style='{_CELL}' title='{html.escape(found.error, quote=True)}'>-</td>"
    chance = "" if found.chance is None else f" <span class='nbv-hint'>({found.chance:.2g})</span>"
    return f"<td style='{_CELL}'>{found.value:.3g}{chance}</td>"


def left_out(comparison: Comparison, trace: Trace, passes: float) -> str:
    """What is not shown, and why: what has no meaning here, and what takes longer than was asked for."""
    parts = []
    out = comparison.left_out
    if out:
        reasons = "".join(f"<div><b>{html.escape(e.name)}</b>: {html.escape(e.error)}</div>" for e in out)
        what = "is not shown: it has no meaning here" if len(out) == 1 else "are not shown: they have no meaning here"
        parts.append(f"<details><summary>{len(out)} of {len(comparison)} {what}</summary>{reasons}</details>")
    if comparison.axis == "methods" and math.isfinite(passes):
        here = {entry.value for entry in comparison.entries}
        more = [(passes_of(known, {}, trace), known.title) for name, known in methods().items() if name not in here]
        if more:
            named = ", ".join(f"{title} ({cost:.0f})" for cost, title in sorted(more))
            parts.append(f"<div>These take more passes: {html.escape(named)}.</div>")
    return f"<div class='nbv-hint' style='line-height: 1.4'>{''.join(parts)}</div>" if parts else ""


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
