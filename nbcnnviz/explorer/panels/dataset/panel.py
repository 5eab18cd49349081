"""The Dataset panel: a scan of many pictures, and the patches of them that fire the chosen filter most."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from os import PathLike
from pathlib import Path
from typing import Any

import ipywidgets as w
from PIL import Image

from nbcnnviz.core.errors import ExportError, ImageError, MethodNotApplicableError
from nbcnnviz.core.network import Network
from nbcnnviz.core.trace import Trace
from nbcnnviz.dataset import SeenPatch, datasets, seen_patch
from nbcnnviz.dataset.patches import Patch
from nbcnnviz.explorer.front import StatusLine, TileFrame
from nbcnnviz.explorer.panels.dataset import tiles
from nbcnnviz.explorer.panels.dataset.extras import Extras, Key
from nbcnnviz.explorer.panels.dataset.run import Asked, ScanRun
from nbcnnviz.explorer.panels.dataset.tiles import Shown
from nbcnnviz.explorer.panels.panel import Act, Panel
from nbcnnviz.explorer.widgets.layout import button, growing, hint, menu, panel, reveal, row
from nbcnnviz.render import Scale
from nbcnnviz.session import Selection, Snapshot, Task, Tasks
from nbcnnviz.session.messages import sentence

_FOLDER = ""
_KEPT = 500  # patches whose pixels and projections are kept
_EMPTY = (
    "Here will be the nine patches that fire the chosen filter most, each beside the projection of its strongest unit "
    "(Zeiler & Fergus 2014, figure 2). Choose pictures and press Scan: one forward pass a picture serves every filter."
)


class DatasetPanel(Panel):
    """Scans pictures as a kept task, and shows what fires the selected filter.

    The scan goes on whatever is selected or turned up meanwhile. One that was stopped goes on when it is started again.

    Attributes
    ----------
    run : ScanRun or None
        The last scan: ``run.result`` is what is known so far, ``run.source`` the pictures.
    result : Shown or None
        What is on screen.
    pictures, path, layers
        The panel's own controls: which pictures, in which folder, of which layers.
    """

    name = "dataset"
    title = "Dataset"
    formats = ("png", "html", "npz")

    def __init__(self, selection: Selection, attempt: Callable[[Act], None], ask: Act) -> None:
        super().__init__(selection, attempt, ask)
        self.run: ScanRun | None = None
        self.result: Shown | None = None
        self._tasks = Tasks()
        self._lock = threading.RLock()
        self._refused: BaseException | None = None
        self._seen: dict[tuple[Any, ...], SeenPatch] = {}
        self._asked_for: tuple[Any, ...] | None = None
        self._answering = False
        self._make_controls()
        self.tiles = TileFrame(label="Patches", side=134, smooth=True)
        self.tiles.on("choose", lambda message: self._chosen(message.get("index")))
        self._status = StatusLine(label="Scan")
        self._status.on("stop", lambda _: self.stop())
        self._status.on("pause", lambda _: self._pause())
        self._extras = Extras(self._extras_changed)
        self._words = w.HTML(layout=w.Layout(margin="0"))
        self._note = w.HTML(hint(_EMPTY))
        left = w.VBox([self._note, self.tiles], layout=w.Layout(flex="1 1 480px", min_width="0"))
        beside = w.HBox([left, self._extras.picture], layout=w.Layout(flex_flow="row wrap", grid_gap="8px 16px"))
        choice = row(self.pictures, self.path, self.layers)
        acts = row(self._start, self._synthesise, self._card, self._save_card)
        self.widget = panel(choice, acts, self._status, self._words, beside, self._extras.card_box)
        self.widget.add_class("nbcnnviz")
        self._follow()

    def _make_controls(self) -> None:
        names = {"patches": "Sample patches", "digits": "Digits", "samples": "Sample photographs"}
        known = [(names.get(name, name), name) for name in datasets()]
        tooltip = "; ".join(f"{name}: {words}" for name, words in datasets().items())
        self.pictures = menu("Pictures", tooltip, [*known, ("A folder or a zip file ...", _FOLDER)], "patches", 180)
        self.path = w.Text(
            placeholder="/path/to/pictures",
            tooltip="A folder or a zip file on the kernel's machine",
            layout=growing(180),
        )
        every = [("all with maps", False), ("the selected one", True)]
        self.layers = menu("Layers", "Which layers are scanned; one is quicker", every, False, 140)
        self._start = button("Scan", "play", "Look through the pictures", self.start)
        self._start.button_style = "primary"
        self._synthesise = button(
            "Synthesize", "", "A picture that raises this filter, by gradient ascent", self.synthesise
        )
        self._card = button("Unit card", "", "Everything about this filter on one page", self.make_card)
        self._save_card = button("Save card", "download", "The card as one HTML file", self._download_card)
        self.pictures.observe(lambda _: self._follow(), "value")
        self.path.observe(lambda _: self._follow(), "value")
        self.layers.observe(lambda _: self._follow(), "value")

    def use(self, tasks: Tasks) -> None:
        """Scan among these."""
        self._tasks = tasks

    # The contract of a view.

    def answer(self, snapshot: Snapshot, trace: Trace) -> Generator[Shown, None, None]:
        """The filter's patches as far as they are known; then with one projection after the other."""
        self._answering = True
        try:
            yield from self._answer(snapshot, trace)
        finally:
            self._answering = False

    def _answer(self, snapshot: Snapshot, trace: Trace) -> Generator[Shown, None, None]:
        run, layer = self.run, snapshot.layer
        channel = snapshot.filter or 0
        if layer is None:
            raise MethodNotApplicableError(
                f"No layer of {trace.network.name} has maps: set ex.selection.layer to another."
            )
        found = None if run is None else run.result
        if run is None or found is None or found.seen == 0 or run.source is None:
            yield Shown(layer, channel, note=_EMPTY)
        elif run.asked.network is not snapshot.network:
            yield Shown(layer, channel, note=f"The scan was of {run.asked.network.name}: scan again for this network.")
        elif layer not in found.layers:
            yield Shown(
                layer, channel, note=f"The scan did not look at {layer}: choose another layer, or scan this one."
            )
        else:
            patches, said = found.patches(layer, channel), tiles.caption(found, layer, channel)
            seen: list[SeenPatch | None] = []
            for projected in (False, True):
                for i, patch in enumerate(patches):
                    one = self._see(run, layer, channel, patch, projected)
                    if not projected:
                        seen.append(one)
                    elif one is not seen[i]:
                        seen[i] = one
                        yield Shown(layer, channel, tuple(s for s in seen if s is not None), said)
                if not projected:
                    yield Shown(layer, channel, tuple(s for s in seen if s is not None), said)

    def _see(self, run: ScanRun, layer: str, channel: int, patch: Patch, projected: bool) -> SeenPatch | None:
        """A patch with its pixels, and its projection, which is computed once; None if its picture is gone."""
        source, key = run.source, (id(run.source), layer, channel, patch)
        assert source is not None
        known = self._seen.get(key)
        if known is not None and (not projected or known.projection is not None):
            return known
        try:
            known = seen_patch(run.asked.network, source, layer, channel, patch, projected=projected)
        except ImageError:
            return None
        while len(self._seen) >= _KEPT:
            self._seen.pop(next(iter(self._seen)))
        self._seen[key] = known
        return known

    def show_question(self, snapshot: Snapshot, trace: Trace) -> None:
        """Show what there is of the filter."""
        with self._lock:
            self._extras.follow(self._key_of(snapshot))
            self._follow()

    def show(self, frame: Shown) -> None:
        """Show patches."""
        with self._lock:
            self.result = frame
            reveal(self._note, bool(frame.note))
            reveal(self.tiles, bool(frame.seen))
            self._note.value = hint(frame.note)
            if frame.seen:
                shown = tiles.pixels(frame.seen)
                self.tiles.show_colour(shown, Scale(0, 255), tiles.named(frame.seen), frame.caption)

    def preview(self) -> Image.Image | None:
        """The patches as they are shown."""
        return None if self.result is None else tiles.sheet(self.result)

    def save(self, path: str | PathLike[str], code: str = "") -> None:
        """Write the patches (``.png``), the filter's card (``.html``), or the whole result of the scan (``.npz``)."""
        ending, run, picture = Path(path).suffix.lower(), self.run, self.preview()
        if ending == ".html" and self._extras.card is not None:
            self._extras.card.save(path)
        elif ending == ".html":
            raise ExportError("There is no card to save yet: make one with Unit card.")
        elif ending == ".npz" and run is not None and run.result is not None:
            run.result.save(path)
        elif ending == ".png" and picture is not None:
            picture.save(path)
        else:
            raise ExportError("There is nothing to save yet: scan pictures first." if ending in (".npz", ".png") else (
                f"Patches are saved as .png, the card as .html, the scan as .npz; not as {ending or 'a file without ending'}."
            ))  # fmt: skip

    def code(self, image: str) -> list[str]:
        """The calls that scan again, and make the card."""
        run, s = self.run, self.selection.snapshot
        lines = [f"trace = net.trace({image})"]
        if run is None:
            return lines
        which = "" if run.asked.layers is None else f", layers={list(run.asked.layers)!r}"
        lines.append(f"top = nv.scan(net, {run.asked.pictures!r}{which})")
        if s.layer is not None:
            unit = f"{s.layer!r}, {s.filter or 0}"
            lines.append(f"patches = top.patches({unit})")
            lines.append(f"card = nv.unit_card(trace, {unit}, top=top, pictures={run.asked.pictures!r})")
        return lines

    def close(self) -> None:
        """End the scan."""
        with self._lock:
            if self.run is not None:
                self.run.task.stop()
            self._extras.close()
            self.run = self.result = None
            self._seen = {}

    # What a user of the API calls, and the buttons do. Nothing is computed here.

    @property
    def error(self) -> BaseException | None:
        """What went wrong with the last thing asked for."""
        return self._refused or (self.run.task.error if self.run is not None else None)

    def start(self) -> None:
        """Scan what the controls say; go on where a scan of the same was stopped, or resume one that is paused."""
        with self._lock:
            asked, run = self._asked(), self.run
            if run is not None and run.task.live and run.asked == asked:
                self._pause()
                return
            self._refused = None
            if not asked.pictures:
                self._refuse(
                    ImageError("Name a folder or a zip file of pictures, on the machine where the kernel runs.")
                )
                return
            if run is not None:
                run.task.stop()
            run = ScanRun(asked, run)
            run.task = self._tasks.start(
                run.frames, "Scan", policy="keep", share=0.2,
                on_frame=lambda _: self._found(run), on_change=lambda task: self._changed(run, task),
            )  # fmt: skip
            self.run = run  # once it has a task: others look at it without the lock
            self._changed(run, run.task)

    def pause(self) -> None:
        """Pause the scan after the pictures that are being looked at."""
        if self.run is not None:
            self.run.task.pause()

    def stop(self) -> None:
        """End the scan; what it found stays, and it may go on."""
        if self.run is not None:
            self.run.task.stop()
        self._extras.stop()

    def wait(self, timeout: float | None = None) -> DatasetPanel:
        """Block until the scan is paused or over. TimeoutError after ``timeout`` seconds."""
        if self.run is not None and not self.run.task.wait(timeout):
            raise TimeoutError(f"The scan was still going on after {timeout} s.")
        return self

    def synthesise(self) -> None:
        """Make a picture that raises the filter, by gradient ascent."""
        key = self._key()
        if key is not None:
            self._refused = None
            self._extras.synthesise(self._tasks, key)

    def make_card(self) -> None:
        """Make the filter's card, on the selected picture."""
        key, run, s = self._key(), self.run, self.selection.snapshot
        if key is None:
            return
        self._refused = None
        here = (
            run is not None and run.asked.network is key[0] and run.result is not None and key[1] in run.result.layers
        )
        top, source = (run.result, run.source) if here and run is not None else (None, None)
        self._extras.make_card(self._tasks, key, s.picture, top, source)

    def _pause(self) -> None:
        if self.run is not None:
            (self.run.task.pause if self.run.task.going else self.run.task.resume)()

    def _key(self) -> Key | None:
        return self._key_of(self.selection.snapshot)

    @staticmethod
    def _key_of(s: Snapshot) -> Key | None:
        return None if s.layer is None else (s.network, s.layer, s.filter or 0)

    def _asked(self) -> Asked:
        s = self.selection.snapshot
        network: Network = s.network
        layers = (s.layer,) if self.layers.value and s.layer is not None else None
        return Asked(network, self.pictures.value or self.path.value.strip(), layers)

    def _download_card(self) -> None:
        card = self._extras.card
        if card is not None:
            self._extras.picture.download(f"filter {card.channel} of {card.layer}.html", card.html().encode())

    # From the tasks to the screen. Runs on their threads.

    def _found(self, run: ScanRun, over: bool = False) -> None:
        """Take notice of what the scan knows, and show it where it has changed for the filter that is looked at.

        Not while an answer is being made, unless the scan is over: it would never come to its projections.
        """
        with self._lock:
            if run is not self.run or not self._status.visible:
                return
            self._words.value = hint(run.words())
            if not over:
                self._status.show(run.task)
                if self._answering:
                    return
            key, found = self._key(), run.result
            if key is None or found is None or key[1] not in found.layers or key[0] is not run.asked.network:
                return
            now = (key[1:], tuple(found.patches(*key[1:])), found.step == found.steps)
            changed, self._asked_for = now != self._asked_for, now
        if changed:
            self.ask()

    def _changed(self, run: ScanRun, task: Task) -> None:
        with self._lock:
            if run is self.run:
                self._status.show(task, "" if self.error is None else sentence(self.error))
                self._follow()
        if not task.live:
            self._found(run, over=True)

    def _extras_changed(self, task: Task) -> None:
        with self._lock:
            if task.error is not None:
                self._refused = task.error
            if self.run is None or not self.run.task.going:  # else the line tells of the scan
                self._status.show(task, "" if self.error is None else sentence(self.error))
            self._follow()

    def _refuse(self, error: BaseException) -> None:
        self._refused = error
        self._status.error = sentence(error)

    # From the controls to the selection, and back.

    def _follow(self) -> None:
        """Offer what there is to do."""
        run = self.run
        same = run is not None and run.asked == self._asked()
        live = same and run is not None and run.task.live  # paused, gone on with and stopped in the line below
        unfinished = same and run is not None and not live and run.unfinished
        self._start.description, self._start.disabled = "Go on" if unfinished else "Scan", live
        reveal(self.path, self.pictures.value == _FOLDER)
        no_layer = self._key() is None
        self._synthesise.disabled = self._card.disabled = no_layer
        reveal(self._save_card, self._extras.card is not None)

    def _chosen(self, index: object) -> None:
        """Open a patch's picture, with its unit selected."""
        shown, run = self.result, self.run
        if shown is None or run is None or run.source is None:
            return
        if not isinstance(index, int) or not 0 <= index < len(shown.seen):
            return
        patch, source = shown.seen[index].patch, run.source

        def choose() -> None:
            picture = source[patch.picture][0]
            if isinstance(picture, Image.Image):
                picture.filename = patch.key  # type: ignore[attr-defined]
            selection = self.selection
            selection.image = picture
            selection.layer, selection.filter = shown.layer, shown.channel
            selection.unit = (patch.row, patch.column)

        self.attempt(choose)
