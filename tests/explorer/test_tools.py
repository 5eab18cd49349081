from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import nbcnnviz as nv
from nbcnnviz.inside.figures.files import FORMATS, write

PICTURE = Image.fromarray(np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3))
ARRAYS = {"values": np.linspace(-1, 1, 6).reshape(2, 3)}


def click(tools, event: str, **more) -> None:
    tools._handle_custom_msg({"type": event, **more}, [])


@pytest.fixture
def sent(monkeypatch):
    """What is handed to the browser: (message, buffers)."""
    messages: list = []
    monkeypatch.setattr("nbcnnviz.explorer.front.Tools.send", lambda self, m, b=(): messages.append((m, b)))
    return messages


def test_undo_and_redo_are_offered_when_there_is_something(explore, toy: nv.Network) -> None:
    ex = explore(toy)
    tools = ex._tools
    assert (tools.can_undo, tools.can_redo) == (False, False)
    ex.selection.target = 2
    assert (tools.can_undo, tools.can_redo) == (True, False)
    click(tools, "undo")
    ex.wait(30)
    assert ex.selection.target is None
    assert (tools.can_undo, tools.can_redo) == (False, True)
    click(tools, "redo")
    assert ex.wait(30).result.target == nv.ClassScore(2)


def test_an_undo_leads_back_to_the_picture_and_network_before(explore, toy: nv.Network, mlp: nv.Network) -> None:
    ex = explore(toy, method="saliency")
    first = ex.result.values
    ex.selection.image = "coffee"
    ex.selection.network = mlp
    ex.wait(30)
    click(ex._tools, "undo")
    click(ex._tools, "undo")
    ex.wait(30)
    assert ex._controls.network.value == "toy"
    assert ex._pictures.widget.current == "chelsea"
    assert ex.result.values.equal(first)


def test_the_code_goes_to_the_clipboard(explore, toy: nv.Network, sent) -> None:
    ex = explore(toy)
    click(ex._tools, "code")
    assert sent == [({"type": "code", "text": ex.code()}, ())]


@pytest.mark.parametrize("format_", FORMATS)
def test_what_is_shown_is_handed_to_the_browser(explore, toy: nv.Network, sent, format_, tmp_path) -> None:
    ex = explore(toy)
    click(ex._tools, "save", format=format_)
    [(message, [content])] = sent
    assert message == {"type": "file", "name": f"explain.{format_}"}
    ex.save(tmp_path / f"a.{format_}")
    if format_ != "npz":  # whose entries have the time in them
        assert content == (tmp_path / f"a.{format_}").read_bytes()


@pytest.mark.parametrize("format_", ["exe", "", None, "../png"])
def test_a_format_that_is_not_offered_is_not_written(explore, toy: nv.Network, sent, format_) -> None:
    click(explore(toy)._tools, "save", format=format_)
    assert sent == []


def test_each_ending_holds_what_it_says(tmp_path) -> None:
    for ending in (*FORMATS, "npy", "jpg"):
        write(tmp_path / f"a.{ending}", PICTURE, ARRAYS, "a <b> & c", "print(1 < 2)")
    np.testing.assert_array_equal(Image.open(tmp_path / "a.png"), PICTURE)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npz")["values"], ARRAYS["values"])
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), ARRAYS["values"])
    assert Image.open(tmp_path / "a.jpg").size == (4, 5)
    for ending in ("svg", "html"):
        text = (tmp_path / f"a.{ending}").read_text()
        assert "a &lt;b&gt; &amp; c" in text
        assert "data:image/png;base64," in text
    assert "print(1 &lt; 2)" in (tmp_path / "a.html").read_text()


@pytest.mark.parametrize("name", ["a.xyz", "a"])
def test_an_ending_that_says_nothing_is_refused(tmp_path, name: str) -> None:
    with pytest.raises(nv.ExportError, match="by its ending"):
        write(tmp_path / name, PICTURE, ARRAYS, "", "")
    assert not (tmp_path / name).exists()


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path) -> None:
    with pytest.raises(nv.ExportError, match="cannot be written: No such file"):
        write(tmp_path / "nowhere" / "a.png", PICTURE, ARRAYS, "", "")
