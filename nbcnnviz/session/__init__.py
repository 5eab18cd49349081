"""What is looked at and what is computed for it, without a widget: see `Session`."""

from nbcnnviz.session.history import History
from nbcnnviz.session.selection import Selection
from nbcnnviz.session.snapshot import Snapshot

__all__ = ["History", "Selection", "Snapshot"]
