"""What is looked at and what is computed for it, without a widget: see `Session`."""

from nbcnnviz.session.history import History
from nbcnnviz.session.selection import Selection
from nbcnnviz.session.session import Session
from nbcnnviz.session.snapshot import Snapshot
from nbcnnviz.session.task import Task, TaskStoppedError, WaitError
from nbcnnviz.session.tasks import Tasks
from nbcnnviz.session.view import Explanation, View

__all__ = [
    "Explanation", "History", "Selection", "Session", "Snapshot", "Task", "TaskStoppedError", "Tasks", "View", "WaitError",
]  # fmt: skip
