"""What the page says arrives on the thread that it was sent to, whoever sent to the widget last."""

from __future__ import annotations

from comm import create_comm

import nbcnnviz as nv
from nbcnnviz.explorer import app
from nbcnnviz.explorer.front import parts_of
from tests import toys
from tests.explorer.conftest import PATIENCE


def send_replies_to_the_main_thread(monkeypatch) -> None:
    """As ipykernel 7.4, for widgets made or drawn on its behalf."""
    monkeypatch.setattr(type(create_comm()), "_reply_subshell_for", lambda *_: None, raising=False)


def test_every_part_of_the_explorer_is_heard_where_the_page_speaks(explore, toy: nv.Network, monkeypatch) -> None:
    send_replies_to_the_main_thread(monkeypatch)
    ex = explore(toy)
    for panel in app.TABS:
        ex.panel = panel
        for layer in ("0", "1", "8"):  # a convolution, a batch-norm, a linear layer: each has charts of its own
            ex.selection.layer = layer
            ex.wait(PATIENCE)
    deaf = [part for part in parts_of(ex) if part.comm._reply_subshell_for({}, "beside") != "beside"]
    assert not deaf


def test_a_watch_is_heard_while_its_loop_runs(monkeypatch) -> None:
    send_replies_to_the_main_thread(monkeypatch)
    watch = nv.watch(toys.classic())
    heard = [part.comm._reply_subshell_for({}, "beside") for part in parts_of(watch.widget)]
    watch.stop()
    watch.widget.close()
    assert set(heard) == {"beside"}
