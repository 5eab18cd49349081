from __future__ import annotations

from tests.explorer.conftest import mlp, sampled, toy

__all__ = ["mlp", "sampled", "toy"]
