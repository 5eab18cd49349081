"""Another language than English: the catalogues, how one is chosen, and that nothing on the screen was forgotten."""

from __future__ import annotations

import ast
import html
import json
import re
import string
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

import nbcnnviz as nv
from nbcnnviz.attribution import methods
from nbcnnviz.core.errors import NbcnnvizError
from nbcnnviz.explorer import Explorer
from nbcnnviz.explorer.language import UnknownLanguageError, catalogue, chosen, entries, languages
from nbcnnviz.explorer.panels import TABS
from nbcnnviz.metrics import METRICS
from nbcnnviz.synthesis import recipes
from tests.explorer.translating import Language

HOUSE = Path(nv.__file__).parent
FRONT = HOUSE.parent / "js" / "src"
FILES = sorted(path for path in languages().values() if path is not None)
every_catalogue = pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])

# Names, which are the same in any language; codes; texts that are not shown.
NAMES = {
    "ROAD",
    "DeepLIFT",
    "KernelSHAP",
    *(known.title for known in methods().values() if re.search("CAM$|Grad$|CAM\\+\\+$", known.title)),
}


# The files.


@every_catalogue
def test_a_catalogue_is_what_babel_reads_in_it(path: Path) -> None:
    with path.open("rb") as file:
        known = {message.id: message.string for message in read_po(file, abort_invalid=True) if message.id}
    assert catalogue(path.stem) == known


@every_catalogue
def test_each_text_is_there_once_and_its_translation_has_the_same_fields(path: Path) -> None:
    found = [(text, translated) for text, translated in entries(path) if text]
    assert len(found) == len(dict(found))
    for text, translated in found:
        assert translated, text
        fields = [sorted(name for _, name, _, _ in string.Formatter().parse(one) if name) for one in (text, translated)]
        assert fields[0] == fields[1], text


def test_a_file_that_is_no_catalogue_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "xx.po"
    path.write_text('msgid "a"\nmsgstr "b"\nmsgctxt "c"\n', encoding="utf-8")
    with pytest.raises(NbcnnvizError, match="line 3"):
        list(entries(path))


def test_python_translates_as_the_front_end_does() -> None:
    """The same cases are in js/tests/language.test.ts."""
    given = json.loads(Path(__file__).with_name("language_cases.json").read_text(encoding="utf-8"))
    language = Language(given["texts"])
    assert {text: language.translate(text) for text in given["cases"]} == given["cases"]


# Which one.


@pytest.mark.parametrize("asked", ["zh", "zh_CN", "zh-cn", "zh_CN.UTF-8"])
def test_a_language_is_found_by_its_usual_names(asked: str) -> None:
    assert chosen(asked) == "zh_CN"


def test_the_environment_chooses_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NBCNNVIZ_LANGUAGE", raising=False)
    assert chosen() == "en"
    monkeypatch.setenv("NBCNNVIZ_LANGUAGE", "zh")
    assert chosen() == "zh_CN"
    assert chosen("en") == "en"


def test_a_language_that_is_not_there_is_refused_and_from_the_environment_leaves_english(
    monkeypatch: pytest.MonkeyPatch, toy: nv.Network
) -> None:
    with pytest.raises(UnknownLanguageError, match="en, zh_CN"):
        nv.explore(toy, language="tlh")
    monkeypatch.setenv("NBCNNVIZ_LANGUAGE", "tlh")
    with pytest.warns(UserWarning, match="NBCNNVIZ_LANGUAGE"):
        assert chosen() == "en"


def test_the_kernel_stays_english_whatever_is_on_the_screen(explore: Callable[..., Explorer], toy: nv.Network) -> None:
    english, chinese = explore(toy, language="en"), explore(toy, language="zh")
    assert (english._status.texts, english._status.language) == ({}, "en")
    assert (chinese._status.texts, chinese._status.language) == (catalogue("zh_CN"), "zh_CN")
    assert chinese.code() == english.code()
    assert chinese.selection.method == english.selection.method


# What is not translated.


@every_catalogue
def test_few_texts_of_the_explorer_are_left_untranslated_and_those_are_told(path: Path) -> None:
    """What is missing stays English on the screen: a warning, and a fault when it is more than one in twenty."""
    language = Language(catalogue(path.stem))
    shapes = [re.sub(r"\{\w+\}", "1", text) for text in language.texts]
    known = [(where, text) for where, text in texts() if re.search("[a-z]{3}", text) and text not in NAMES]
    assert len(known) > 500, "the texts are found"
    left = [
        f"{where}: {text}"
        for where, text in known
        if language.translate(text) == text
        # What is put together of parts is there as a whole.
        and not any(text in shape for shape in shapes)
    ]
    told = f"{len(left)} of {len(known)} are not in {path.name}:\n" + "\n".join(left)
    if left:
        warnings.warn(told, stacklevel=1)
    assert len(left) <= len(known) / 20, told


@every_catalogue
def test_what_can_be_saved_is_translated_where_it_is_more_than_the_name_of_a_format(path: Path) -> None:
    language = Language(catalogue(path.stem))
    named = {name.upper() for panel in TABS.values() for name in panel.formats if "." in name}
    assert named, "there are such"
    assert {name for name in named if language.translate(name) == name} == set()


def test_a_text_that_is_missing_is_found() -> None:
    found = {text for _, text in texts()}
    assert {"Judge every map shown", "The map that is taken at each layer.", "Show all of it (0)"} <= found
    assert Language(catalogue("zh_CN")).translate("Judge every apple shown") == "Judge every apple shown"


def texts() -> Iterator[tuple[str, str]]:
    """What can be on the screen, with where it comes from; ``1`` where a value is filled in."""
    for name, known in methods().items():
        yield f"method {name}", known.title
        yield f"method {name}", known.cost
        for line in plain(known.doc).split("\n\n"):
            yield f"method {name}", line
        for option in known.options.values():
            yield f"method {name}", option.help
            yield f"method {name}", option.label or option.name.replace("_", " ").capitalize()
    for name, recipe in recipes().items():
        yield f"recipe {name}", recipe.title
    for metric in METRICS.values():
        yield "metric", metric.title
    rooms = ("explorer", "inside/figures", "metrics", "session")
    for path in sorted(path for room in rooms for path in (HOUSE / room).rglob("*.py")):
        for line, text in sentences_of(path):
            yield f"{path.relative_to(HOUSE)}, line {line}", text
    for path in sorted(FRONT.glob("*.ts")):
        for text in sentences_in(path.read_text(encoding="utf-8")):
            yield path.name, text


def plain(doc: str) -> str:
    return doc.strip().replace("``", "").replace("`", "")


def sentences_of(path: Path) -> Iterator[tuple[int, str]]:
    """The strings of two words and more in a file of Python that are neither docstrings, errors nor code."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    passed: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            passed.update(node.values)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            passed.add(node.value)
        elif isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error")):
            passed.update(ast.walk(node))
    for node in ast.walk(tree):
        if node in passed:
            continue
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "1" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        text = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())
        if re.search(r"[a-z]{2,} [a-z]{2,}", text) and not NO_TEXT.search(text):
            yield node.lineno, text


NO_TEXT = re.compile(
    r"\dpx|^\.\.\.|import |nbv-|class=|traces$|^(row wrap|auto hidden|nbcnnviz \w+)$|%s|^Something unexpected|(rectifier|layer|filter)1\.?$|^export default|■|^1zero|\) *# "
)


def sentences_in(text: str) -> Iterator[str]:
    """The strings of the front end that are words."""
    text = re.sub(r"/\*.*?\*/", "", re.sub(r"(?m)(^|\s)//.*$", "", text), flags=re.DOTALL)
    for quoted, template in re.findall(r'"((?:[^"\\\n]|\\.)*)"|`([^`]*)`', text):
        found = re.sub(r"\$\{[^{}]*(\{[^{}]*\}[^{}]*)*\}", "1", quoted or template)
        word = re.fullmatch("[A-Z][a-z]+", found) and found not in KEYS
        if word or (re.search(r"[A-Za-z]{2,} ([a-z]{2,}|1)|1 [a-z]{2,}", found) and not NO_WORDS.search(found)):
            yield found.strip()


KEYS = {"Escape", "Enter", "Home", "End", "Tab", "Space"}
NO_WORDS = re.compile(
    r"[<>{}=]|\dpx|nbv|^max\(|translate\(|repeat\(|canvas$|textarea|Cannot send|^M\d|not a canvas|reduced-motion"
)
