"""The form at the end of a notebook: a name, a field for each answer, and the button that makes the file to hand in."""

from __future__ import annotations

from typing import Any

import ipywidgets as w
from IPython import get_ipython

from nbcnnviz.explorer.app import Explorer
from nbcnnviz.explorer.front import FileLine, receive_while_busy
from nbcnnviz.explorer.widgets.layout import button
from nbcnnviz.session.messages import sentence
from nbcnnviz.teaching.handing_in import Work

_WIDE = {"description_width": "110px"}


class HandInForm(w.VBox):
    """What shows a `Work`."""

    def __init__(self, work: Work) -> None:
        self._work = work
        layout = w.Layout(width="auto", max_width="760px")
        self.student = w.Text(work.student, description="Your name", style=_WIDE, layout=layout)
        self.answers = [
            w.Textarea(text, description=f"Question {number}", rows=3, style=_WIDE, layout=layout)
            for number, text in enumerate(work.answers, 1)
        ]
        self.line = FileLine(label="What was handed in")
        tip = "One HTML file with your answers, your code, what the checks said of it, and the pictures"
        self.button = button("Save what I hand in", "download", tip, self._made)
        self.button.layout.align_self, self.button.layout.margin = "flex-start", "6px 0 6px 118px"
        super().__init__([self.student, *self.answers, self.button, self.line])
        self.add_class("nbcnnviz")
        receive_while_busy(self)

    def _made(self) -> None:
        if not self.student.value.strip():
            self.line.say(error="Whose is it? Write your name first.")
            return
        try:
            handed = self._work.gathered(self.student.value, [a.value for a in self.answers], cells_run())
            self.line.download(handed.filename, handed.html().encode())
        except Exception as error:  # nobody else would tell
            self.line.say(error=sentence(error))
            return
        left = [attempt.exercise for attempt in handed.attempts if not attempt.right]
        rest = f"; not yet: {', '.join(left)}" if left else ""
        self.line.say(f"{handed.filename} is saved: {handed.right} of {len(handed.attempts)} exercises right{rest}.")


def cells_run() -> list[tuple[str, Any]]:
    """The code of each cell that was run, with what it returned; then every explorer that has a name.

    From what IPython keeps of a session. Voila keeps none of it; explorers are found by their names there.
    """
    shell = get_ipython()
    if shell is None:
        return []
    names = shell.user_ns
    sources, values = names.get("_ih", []), names.get("_oh", {})
    cells = [(sources[at], values[at]) for at in sorted(values) if at < len(sources)]
    seen = {id(value) for _, value in cells}
    for name, value in [*names.items()]:
        if isinstance(value, Explorer) and not name.startswith("_") and id(value) not in seen:
            seen.add(id(value))
            cells.append((name, value))
    return cells
