"""Work handed in: the page holds what was done, nothing of it is taken for markup, and a folder is read back."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

import nbcnnviz as nv
from nbcnnviz.teaching.checking import UnknownExerciseError

NASTY = '</script><script>alert(1)</script> <b>&amp; "O\'Neill"'


class Page(HTMLParser):
    """The elements and the text of a page, as a browser has them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.elements.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def handed() -> nv.teaching.HandIn:
    work = nv.teaching.hand_in("03 Saliency", exercises=["saliency", "probability-gradient"], answers=["", ""])
    right = nv.teaching.check("saliency", lambda g: g.abs().amax(1, keepdim=True))
    wrong = nv.teaching.check("saliency", lambda g: g.amax(1, keepdim=True))
    red, blue = Image.new("RGB", (40, 20), "red"), Image.new("RGB", (2000, 20), "blue")
    cells = [("first", wrong), ("a = 1 < 2", right), ("show()", red), ("other()", red), ("show()", blue), ("3", 3)]
    return work.gathered(" Ada Lovelace ", ["because", NASTY], cells)


def test_of_each_exercise_the_last_check_counts(handed: nv.teaching.HandIn) -> None:
    first, second = handed.attempts
    assert (first.exercise, first.right, first.code, first.tries) == ("saliency", True, "a = 1 < 2", 2)
    assert (second.exercise, second.right, second.code, second.tries) == ("probability-gradient", False, "", 0)
    assert "not run" in second.says
    assert handed.right == 1
    assert "1 of 2 exercises right, 2 of 2 questions answered" in repr(handed)


def test_the_page_shows_code_verdicts_answers_and_pictures(handed: nv.teaching.HandIn) -> None:
    html = handed.html()
    page = Page(html)
    for text in ("Ada Lovelace", "03 Saliency", "a = 1 < 2", "because", NASTY, "Exercises: 1 of 2 right"):
        assert text in page.text, text
    assert page.elements.count("script") == 1, "the facts, and none that a student wrote"
    assert "http" not in html, "nothing is fetched"
    pictures = [Image.open(io.BytesIO(base64.b64decode(p))) for p in re.findall(r"image/jpeg;base64,([^']+)'", html)]
    assert [code for code, _ in handed.pictures] == ["other()", "show()"], "of a cell run twice the last picture"
    assert [picture.size for picture in pictures] == [(40, 20), (900, 9)]
    red, green, blue = pictures[1].getpixel((100, 4))
    assert blue > 200 > 50 > max(red, green)


def test_maps_are_pictures_too(bundled: nv.Network) -> None:
    result = nv.attribute(bundled, "chelsea", method="grad_cam")
    [(_, jpeg)] = nv.teaching.hand_in("05").gathered("x", [], [("result", result)]).pictures
    assert Image.open(io.BytesIO(jpeg)).size == Image.open(io.BytesIO(result._repr_png_())).size


def test_a_folder_of_them_is_read_back(handed: nv.teaching.HandIn, tmp_path: Path) -> None:
    handed.save(tmp_path / handed.filename)
    (tmp_path / "group b").mkdir()
    other = nv.teaching.hand_in("03 Saliency").gathered("Zoe </script> Ω", [NASTY], [])
    other.save(tmp_path / "group b" / other.filename)
    (tmp_path / "notes.html").write_text("<p>something else</p>")
    found = nv.teaching.handed_in(tmp_path)
    assert [each.student for each in found] == ["Ada Lovelace", "Zoe </script> Ω"]
    assert found[0].attempts == handed.attempts
    assert found[0].answers == ("because", NASTY)
    assert found[0].time == handed.time
    assert found[1].answers == (NASTY,)


def test_a_file_that_was_changed_is_named(handed: nv.teaching.HandIn, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(handed.html().replace('"attempts"', '"attempt"'))
    with pytest.raises(nv.NbcnnvizError, match=r"a\.html"):
        nv.teaching.handed_in(tmp_path)
    with pytest.raises(nv.NbcnnvizError, match="no folder"):
        nv.teaching.handed_in(tmp_path / "nowhere")


def test_a_filename_is_one_on_every_system(handed: nv.teaching.HandIn) -> None:
    assert handed.filename == "Ada Lovelace - 03 Saliency.html"
    odd = nv.teaching.hand_in("07: Can a map / be trusted?").gathered('../"x" <\n>', [], [])
    assert odd.filename == "x - 07 Can a map be trusted.html"


def test_what_is_asked_for_is_checked() -> None:
    with pytest.raises(UnknownExerciseError, match="saliency"):
        nv.teaching.hand_in("03", exercises=["salience"])
    with pytest.raises(nv.ArgumentTypeError, match="a list of strings"):
        nv.teaching.hand_in("03", answers="yes")
    with pytest.raises(nv.ArgumentTypeError, match="a list of strings"):
        nv.teaching.hand_in("03", exercises="saliency")
