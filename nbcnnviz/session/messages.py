"""Errors in words for someone who did not write the code."""

from __future__ import annotations

import torch

from nbcnnviz.core.errors import NbcnnvizError


def sentence(error: BaseException) -> str:
    """What went wrong, in one sentence."""
    if isinstance(error, NbcnnvizError):
        return str(error)
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return (
            "There is not enough memory for this: choose a smaller network, or close other explorers with ex.close()."
        )
    text = str(error).strip().partition("\n")[0]
    return f"Something unexpected happened ({type(error).__name__}){': ' if text else ''}{text}"
