"""Whether anybody sees what the line of status belongs to."""

from __future__ import annotations

import pytest

from nbcnnviz.explorer.front.status import StatusLine


class Page:
    """A page with a view of the line, which answers a roll call as long as it is there."""

    def __init__(self, line: StatusLine, name: str, visible: bool = True) -> None:
        self.line, self.name, self.visible = line, name, visible
        self.say(visible)
        line.observe(lambda _: self.say(self.visible) if self.visible is not None else None, "roll_call")

    def say(self, visible: bool | None) -> None:
        self.visible = visible
        message = {"type": "visibility", "view": self.name, "visible": visible}
        self.line._handle_custom_msg(message, [])

    def crash(self) -> None:
        """It is gone, and says nothing any more."""
        self.visible = None


def test_a_page_that_was_closed_without_taking_its_leave_is_not_taken_for_a_reader() -> None:
    line = StatusLine()
    first, second = Page(line, "first"), Page(line, "second")
    second.crash()
    first.say(False)
    assert not line.visible
    first.say(True)
    assert line.visible


@pytest.mark.parametrize("said", [False, None])
def test_who_is_still_there_is_heard_when_another_leaves_or_is_hidden(said: bool | None) -> None:
    line = StatusLine()
    first, second, third = (Page(line, name) for name in ("first", "second", "third"))
    third.say(False)
    first.say(said)
    assert line.visible
    second.say(said)
    assert not line.visible
    third.say(True)
    assert line.visible
    calls = line.roll_call
    third.say(False)
    third.say(False)
    assert line.roll_call == calls  # nobody else was there


def test_until_a_view_reports_and_after_the_last_left_it_is_taken_to_be_seen() -> None:
    line = StatusLine()
    assert line.visible
    page = Page(line, "only")
    page.say(None)
    assert line.visible
