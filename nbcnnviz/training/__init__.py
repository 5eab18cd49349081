"""Watching a network while it learns, in the user's own loop: what is measured, when, and how it is kept."""

from nbcnnviz.training.watching import Watch, watch

__all__ = ["Watch", "watch"]
