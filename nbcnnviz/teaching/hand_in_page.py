"""What is handed in, as one HTML page."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbcnnviz.teaching.handing_in import Attempt, HandIn

_STYLE = """
html { color-scheme: light dark; } body { font: 15px/1.5 system-ui, sans-serif; max-width: 960px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; margin-bottom: 0; } h2 { font-size: 1.2em; margin-top: 2em; } h3 { font-size: 1em; margin-bottom: .3em; }
pre { border: 1px solid #8886; border-radius: 4px; padding: .6em; overflow-x: auto; white-space: pre-wrap; font-size: .87em; }
img { max-width: 100%; } figure { margin: 1em 0 2em; } .right { color: #1a7f37; } .not { color: #c62828; } .answer { white-space: pre-wrap; }
"""


def page(handed: HandIn, facts: str) -> str:
    """The whole page; ``facts`` is what a program reads of it, as JSON that may stand in a page."""
    title = f"{handed.student}: {handed.lesson}"
    parts = [f"<h1>{escape(handed.lesson)}</h1>", f"<p>{escape(handed.student)}, {escape(handed.time)}</p>"]
    if handed.attempts:
        parts.append(f"<h2>Exercises: {handed.right} of {len(handed.attempts)} right</h2>")
        parts += [_exercise(attempt) for attempt in handed.attempts]
    if handed.answers:
        parts.append("<h2>Answers to the questions</h2>")
        for number, answer in enumerate(handed.answers, 1):
            parts.append(f"<h3>Question {number}</h3><p class='answer'>{escape(answer) or '-'}</p>")
    if handed.pictures:
        parts.append("<h2>Pictures</h2>")
        for code, jpeg in handed.pictures:
            source = base64.b64encode(jpeg).decode()
            parts.append(f"<figure><img src='data:image/jpeg;base64,{source}' alt=''>{_code(code)}</figure>")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body>{''.join(parts)}\n"
        f'<script type="application/json" id="nbcnnviz-hand-in">{facts}</script></body></html>\n'
    )


def _exercise(attempt: Attempt) -> str:
    kind, word = ("right", "Right") if attempt.right else ("not", "Not yet")
    tries = f" ({attempt.tries} {'try' if attempt.tries == 1 else 'tries'})" if attempt.tries else ""
    return (
        f"<h3>{escape(attempt.exercise)}{tries}</h3>"
        f"<p class='{kind}'>{word}: {escape(attempt.says)}</p>{_code(attempt.code)}"
    )


def _code(code: str) -> str:
    return f"<pre>{escape(code)}</pre>" if code else ""
