"""The main acts, written once and done in three engines: Chromium, Firefox and WebKit. See engines.py."""

from __future__ import annotations

import pytest

from . import engines

pytestmark = pytest.mark.browser

CELL = """
import nbcnnviz as nv
ex = nv.explore()
ex
"""

# The colours that a view shows, as one number, and how many there are.
SEEN = """
const canvas = document.querySelector(a[0] + ' .nbv-canvas > canvas');
if (!canvas || !canvas.width) return [0, 0];
const words = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer);
let sum = 0;
for (const word of words) sum = (31 * sum + word) | 0;
return [sum, new Set(words).size];
"""
OVERLAY, MAP = ".nbv-view[data-view=overlay]", ".nbv-view[data-view=map]"

# What the next saved PNG holds: its size, and how many colours. Files are made in the page, and kept by the browser.
SAVED = """
const make = URL.createObjectURL;
const made = new Promise((resolve) => {
    URL.createObjectURL = (blob) => { if (blob.type === 'image/png') resolve(blob); return make.call(URL, blob); };
});
HTMLAnchorElement.prototype.click = () => {};
window.nbvSaved = made.then(async (blob) => {
    const bitmap = await createImageBitmap(blob);
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext('2d');
    context.drawImage(bitmap, 0, 0);
    const {data} = context.getImageData(0, 0, bitmap.width, bitmap.height);
    return [bitmap.width, bitmap.height, new Set(new Uint32Array(data.buffer)).size];
});
"""


@pytest.fixture(scope="module", params=engines.MISSING)
def page(request, lab, browser):
    if engines.MISSING[request.param]:
        pytest.skip(engines.MISSING[request.param])
    page = engines.start(request.param, browser)
    try:
        page.open(lab, CELL)
        page.until(lambda: page.evaluate("return document.querySelector('.nbv-caption')?.textContent"), 120)
        yield page
    finally:
        page.close()
        lab.shut_kernels()


def seen(page, view: str = OVERLAY) -> list[int]:
    """What a view shows, once the kernel has answered and the page has painted it."""
    page.kernel("ex.wait(60) and None")
    looks = [page.evaluate(SEEN, view)]

    def rests() -> bool:
        looks.append(page.evaluate(SEEN, view))
        return looks[-1] == looks[-2]

    page.until(rests)
    return looks[-1]


def test_it_opens(page, artifacts):
    assert seen(page)[1] > 1000, "a picture with a map over it"
    assert seen(page, MAP)[1] > 50
    assert page.evaluate("return document.querySelectorAll('.nbv-class').length") >= 5
    assert page.evaluate("return document.querySelectorAll('.nbv-bars > *').length") > 0
    assert page.evaluate("return document.querySelector('.nbv-error').textContent") == ""
    shot = page.screenshot(artifacts / f"engine-{page.name.lower()}.png")
    assert len(shot.resize((300, 200)).getcolors(60_000)) > 1000, "and that is on the screen"


def test_a_click_explains_another_class(page):
    before = seen(page)
    page.click(".nbv-class:nth-child(2)")
    second = page.kernel("ex.session.trace.top(2)[1][0]")
    page.until(lambda: page.kernel("ex.selection.target") == second)
    assert seen(page) != before
    assert page.evaluate("return document.querySelector('.nbv-class[aria-selected=true]').dataset.index") == str(second)


def test_a_click_goes_to_another_layer(page):
    before, layer = seen(page), page.kernel("ex.selection.layer")
    page.click(".nbv-bars", across=0.7)
    page.until(lambda: page.kernel("ex.selection.layer") != layer)
    assert seen(page) != before
    told = "return document.querySelector('.nbv-depth-path').textContent"
    page.until(lambda: page.evaluate(told).startswith(page.kernel("ex.selection.layer")))


def test_a_click_takes_another_picture(page):
    before = seen(page)
    page.click(".nbv-strip [data-name=coffee]")
    page.until(lambda: page.kernel("ex.selection.source") == "coffee")
    assert seen(page) != before


def test_another_method_is_chosen(page):
    before = seen(page, MAP)
    page.choose(".nbv-at-method select", "Saliency")
    page.until(lambda: page.kernel("ex.selection.method") == "saliency")
    assert seen(page, MAP) != before
    assert "Saliency" in page.evaluate("return document.querySelector('.nbv-caption').textContent")


def test_keys_do_what_the_mouse_does(page):
    page.kernel("ex.wait(60) and None")
    page.focus(".nbv-frame .nbv-views")
    opacity = "round(ex.panels['explain'].widget.opacity, 3)"
    before = page.kernel(opacity)
    page.press("O")
    page.until(lambda: page.kernel(opacity) == pytest.approx(before - 0.1))
    page.focus(".nbv-classlist")
    third = page.kernel("ex.session.trace.top(3)[2][0]")
    page.press("Home", "ArrowDown", "ArrowDown", "Enter")
    page.until(lambda: page.kernel("ex.selection.target") == third)
    page.press("Alt+l")
    page.until(lambda: page.evaluate("return document.activeElement.ariaLabel") == "Search layers")
    page.press(*"conv_stem")
    page.until(lambda: page.evaluate("return document.activeElement.value") == "conv_stem")
    page.press("Escape")
    page.evaluate("const e = document.activeElement; e.value = ''; e.dispatchEvent(new Event('input'))")
    page.focus(".nbv-bars")
    page.press("End")
    page.until(lambda: page.kernel("ex.selection.layer == [*ex.selection.network.layers][-1] or ex.selection.layer"))
    page.press("Home")
    page.until(lambda: page.kernel("ex.selection.layer") == "conv_stem")


def test_what_is_shown_is_saved_as_a_picture(page):
    page.kernel("ex.wait(60) and None")
    page.evaluate(SAVED)
    page.focus(".nbv-frame .nbv-views")
    page.press("p")
    width, height, colours = page.evaluate("return await window.nbvSaved")
    assert width > 400
    assert height > 200
    assert colours > 1000, "with its pictures in it"


def test_the_code_is_copied_or_there_to_be_copied(page):
    page.click(".nbv-toolbar button[aria-label='Copy code']")
    said = "return document.querySelector('.nbv-toolbar .nbv-message').textContent"
    page.until(lambda: page.evaluate(said))
    if page.evaluate(said) != "Code copied":
        assert "nv.attribute" in page.evaluate("return document.querySelector('textarea.nbv-code').value")


def test_a_picture_is_synthesised(page, artifacts):
    page.click(".lm-TabBar-tab:nth-child(5)")
    page.until(lambda: page.kernel("ex.panel") == "synthesize")
    page.run("ex.panels['synthesize']._setup.controls['steps'].value = 6")
    page.evaluate(
        "[...document.querySelectorAll('.nbv-at-main button')].find((e) => e.textContent.trim() === 'Start').id = 'nbv-start'"
    )
    page.click("#nbv-start")
    page.until(lambda: page.kernel("ex.panels['synthesize'].run is not None"))
    page.kernel("ex.panels['synthesize'].wait(60) and None")
    shown = "[...document.querySelectorAll('.nbv-at-main .nbv-canvas > canvas')].filter((e) => e.checkVisibility())"
    colours = (
        f"return Math.max(...{shown}.map((e) => new Set(new Uint32Array("
        "e.getContext('2d').getImageData(0, 0, e.width, e.height).data.buffer)).size))"
    )
    page.until(lambda: page.evaluate(colours) > 1000)
    page.screenshot(artifacts / f"engine-{page.name.lower()}-synthesize.png")


def test_nothing_was_complained_of(page):
    assert page.complaints == []
