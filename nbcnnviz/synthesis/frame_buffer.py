"""A run remembered, within a budget of memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from nbcnnviz.synthesis.frame import Frame

BUDGET = 192_000_000
"""Bytes of pictures that a frame buffer keeps: 1300 frames of 224 x 224 pixels in colour."""


@dataclass(frozen=True)
class _Kept:
    """A frame without its pictures, and these apart, 8 bits a pixel, in the memory of the CPU."""

    step: int
    frame: Frame
    pictures: Tensor


class FrameBuffer:
    """The frames of a run, to be looked at, written to a file, or started from again.

    Each is kept as `Frame.rounded` has it, a quarter of its size. When they outgrow the budget every second one is let
    go, and from then on every second one that comes; the first and the last are always there. Steps are counted by
    whoever adds the frames, so that one buffer may hold several runs, each of which goes on from a frame of the last.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._kept: list[_Kept] = []
        self._every = 1

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, at: int) -> Frame:
        kept = self._kept[at]
        return kept.frame.of_eight_bits(kept.pictures)

    def __iter__(self) -> Iterator[Frame]:
        return (self[at] for at in range(len(self)))

    @property
    def size(self) -> int:
        """Bytes of the pictures kept."""
        return sum(kept.pictures.numel() for kept in self._kept)

    @property
    def steps(self) -> list[int]:
        """The step of each frame."""
        return [kept.step for kept in self._kept]

    def add(self, step: int, frame: Frame) -> None:
        """Keep one frame more."""
        if len(self._kept) > 1 and self._kept[-1].step % self._every:
            self._kept.pop()  # it was kept for being the last
        pictures = frame.eight_bits.to("cpu")
        self._kept.append(_Kept(step, replace(frame, input=frame.input.new_empty(0)), pictures))
        while len(self._kept) > 3 and self.size > self._budget:
            self._every *= 2
            first, *others, last = self._kept
            self._kept = [first, *(kept for kept in others if kept.step % self._every == 0), last]

    def copy(self) -> FrameBuffer:
        """Another buffer of the frames kept so far, to be read while this one grows."""
        other = FrameBuffer(self._budget)
        other._kept, other._every = list(self._kept), self._every
        return other

    def cut(self, at: int) -> None:
        """Forget the frames after that one."""
        del self._kept[at + 1 :]
