"""What a notebook keeps of an explorer: the widget, and a picture for where no kernel runs."""

from __future__ import annotations

import html

from nbcnnviz.explorer.panels import Panel
from nbcnnviz.render.encoding import data_url
from nbcnnviz.session import Snapshot


def picture_output(panel: Panel, snapshot: Snapshot, name: str) -> dict[str, str] | None:
    """What a panel shows, as an output without a widget; None if there is no picture of it.

    ``name`` is what the front end knows the explorer by: where the widget lives it hides the picture of that name.
    """
    preview = panel.preview()
    if preview is None:
        return None
    source = data_url(preview)
    what = getattr(panel.widget, "caption", "") or panel.title
    text = html.escape(f"{what}, {snapshot.network.name}, {snapshot.source or 'a picture'}")
    page = (
        f'<figure class="nbv-snapshot nbv-snapshot-{name}" style="margin: 0">'
        f'<img src="{source}" alt="{text}" style="max-width: 100%">'
        f"<figcaption>{text}. Run the cell to explore it.</figcaption></figure>"
    )
    return {"text/html": page, "image/png": source.partition(",")[2], "text/plain": text}
