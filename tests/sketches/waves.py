"""A recipe of one's own, in one file: a pattern of waves that a target likes."""

from __future__ import annotations

import nbcnnviz as nv
from nbcnnviz.core.options import option
from nbcnnviz.synthesis.recipe import begin, recipe


@recipe("Waves, sketched", learning_rate=0.2, jitter=0, scale=0, rotate=0, jitter_after=0)
def waves_sketch(
    net: nv.Network,
    objective: nv.TargetLike = 0,
    *,
    steps: int = option(4, low=1, high=500, help="How many steps.", main=True),
    strength: float = option(0.5, low=0, high=1, help="How strong the noise is that it starts from."),
    upright: bool = option(False, help="Whether it is turned by a right angle first."),
    rival: int | str | None = option(None, kind="class", help="A class that it must not look like."),
    **options: object,
):
    """Noise of a strength, raised for a target, and lowered for a rival."""
    goal = nv.ClassScore(objective) if isinstance(objective, int) else objective
    if rival is not None:
        goal = goal - nv.ClassScore(net.class_index(rival))
    given = {"strength": strength, "upright": upright, "rival": rival, "steps": steps}
    yield from begin(
        "waves_sketch", net, goal, steps=steps, arguments=given, subject=repr(objective), **options
    ).frames()
