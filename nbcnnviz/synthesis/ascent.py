"""Gradient ascent on a picture, one frame a step.

A step looks at the picture from a random view, asks the objective for its score there, and follows the score's
gradient, less that of the penalties, back to the parameters of the picture. The forward pass ends at the deepest layer that the objective
looks at, and nothing but the picture has a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nbcnnviz.core.errors import ImageError, NetworkError, SynthesisError
from nbcnnviz.core.network import Network
from nbcnnviz.core.rules import dead_relu_gradient
from nbcnnviz.core.targets import Target, scores_of_target
from nbcnnviz.core.trace import Trace
from nbcnnviz.synthesis.controls import Controls
from nbcnnviz.synthesis.frame import Frame, Provenance
from nbcnnviz.synthesis.loading import Loading
from nbcnnviz.synthesis.optimisers import Optimiser
from nbcnnviz.synthesis.parameterization import Colours, Parameterization
from nbcnnviz.synthesis.precision import FULL, choose
from nbcnnviz.synthesis.regularizers import edited, penalties
from nbcnnviz.synthesis.transforms import View

Frames = Generator[Frame, None, None]
Schedule = Mapping[int, Mapping[str, Any]]

EXPLODED = 1e4
"""A picture further than this from the mean colour, in the units of the network's input, has exploded."""


@dataclass
class Ascent:
    """A run, ready to go.

    Attributes
    ----------
    schedule
        Changes to the controls, by the step of the first frame that shows them.
    within
        The darkest and the brightest picture allowed, if it is kept within bounds.
    precision
        What the network computes in after the first steps: ``"float32"``, ``"bfloat16"``, or ``"auto"``. The picture stays
        float32.
    loading
        How the network gets the picture, if not as it is: as a file that is loaded.
    finished
        Whether the last frame's picture is a finished one, whose file the network is to judge.
    """

    net: Network
    objective: Target
    parameterization: Parameterization
    colours: Colours
    optimiser: Optimiser
    controls: Controls
    generator: torch.Generator
    provenance: Provenance
    steps: int
    schedule: Schedule
    within: tuple[Tensor, Tensor] | None = None
    precision: str = "float32"
    loading: Loading | None = None
    finished: bool = True

    def __post_init__(self) -> None:
        # On a CPU convolutions are a fifth to a third faster so, kernels too: measured on six networks, whole and in part.
        self._channels_last = self.net.device.type == "cpu"
        self._bfloat16 = False

    def frames(self) -> Frames:
        """Frame 0 to frame ``steps``.

        Raises
        ------
        SynthesisError
            If score, gradient or picture are no longer finite, or the picture explodes; it holds the last good frame.
        ImageError
            If the picture is too small for the network, or not of the size that it takes.
        """
        self._look = self._looking()
        now, last = self._settings(0), None
        chosen = choose(self.precision, self.net.device, self._gradient_at_noise)
        self._bfloat16 = chosen.bfloat16
        provenance = replace(self.provenance, settings=asdict(now), precision=chosen.words)
        for step in range(self.steps + 1):
            found = self._measure(now, step)
            self._check(found, now, step, last)
            last = self._frame(found, step, provenance)
            if step == self.steps and self.finished:
                last.judge()
            yield last
            if step < self.steps:
                before, now = now, self._settings(step + 1)
                if moved := {n: v for n, v in asdict(now).items() if v != getattr(before, n)}:
                    provenance = replace(provenance, changes=(*provenance.changes, (step + 1, moved)))
                self._move(found, now, step + 1)

    def _looking(self) -> Callable[[Tensor], Trace]:
        layers = self.objective.layers
        stop = bool(layers) and not self.objective.whole
        # A picture made in TF32 is the same to a person.
        return self.net.tracer(layers, stop=stop, channels_last=self._channels_last, tf32=True)

    def _gradient_at_noise(self, bfloat16: bool) -> Tensor:
        """The objective's gradient at a picture of noise, of the size of the run's."""
        with torch.inference_mode(False), torch.enable_grad():
            picture = self.parameterization.picture().detach()
            seen = picture if self.loading is None else self.loading(picture)
            pixels = torch.rand(seen.shape, generator=torch.Generator().manual_seed(0))
            trace = self._trace(self.colours.to_input(pixels.to(seen)), 0, bfloat16)
            scores = scores_of_target(self.objective, trace).float()
            return torch.autograd.grad(scores.sum(), trace.input)[0].float()

    def _settings(self, step: int) -> Controls:
        """The controls as they are now, after what is scheduled for a step."""
        for name, value in self.schedule.get(step, {}).items():
            setattr(self.controls, name, value)
        return self.controls.copy()

    def _measure(self, now: Controls, step: int) -> _Measured:
        """The score of the picture as it is, and the way uphill."""
        with torch.inference_mode(False), torch.enable_grad():
            parameters = self.parameterization.parameters = [
                p.detach().requires_grad_() for p in self.parameterization.parameters
            ]
            picture = self.parameterization.picture()
            seen = picture if self.loading is None else self.loading(picture)
            view = View.draw(now, self.generator).of(seen, self.colours.grey)
            trace = self._trace(view, step, self._bfloat16 and step >= FULL)
            scores = scores_of_target(self.objective, trace).float()
            with dead_relu_gradient([scores]) if step < now.redirected_relu else nullcontext():
                gradient = torch.autograd.grad(scores.sum(), trace.input)[0].float()
            contribution = None
            if now.clip_contribution:
                (at_picture,) = torch.autograd.grad(view, picture, gradient, retain_graph=True)
                contribution = picture.detach() * at_picture
            costs = penalties(picture, now)
            uphill = torch.autograd.grad(
                [view, *costs.values()], parameters, [gradient, *(-torch.ones_like(c) for c in costs.values())]
            )
        numbers = torch.stack([gradient.norm(), picture.abs().amax(), *costs.values()]).detach()
        values = torch.cat([scores.detach(), numbers]).tolist()  # one wait for the device
        norm, extent, *weighted = values[len(scores) :]
        return _Measured(
            seen.detach(),
            None if self.loading is None else self.colours.eight_bits(picture.detach()),
            tuple(values[: len(scores)]),
            norm,
            extent,
            dict(zip(costs, weighted, strict=True)),
            trace.scores.detach() if trace.whole else None,
            list(uphill),
            contribution,
        )

    def _trace(self, view: Tensor, step: int, bfloat16: bool) -> Trace:
        x = view.to(self.net.dtype)
        if self._channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        try:
            with torch.autocast(view.device.type, torch.bfloat16, enabled=bfloat16):
                return self._look(x)
        except NetworkError as error:
            if self._channels_last:  # a network may ask for another order in memory, by tensor.view say
                self._channels_last = False
                self._look = self._looking()
                return self._trace(view, step, bfloat16)
            if step or tuple(view.shape[2:]) == self.net.input_shape[1:]:
                raise
            made_for, given = (" x ".join(map(str, s)) for s in (self.net.input_shape[1:], view.shape[2:]))
            raise ImageError(
                f"A picture of {given} is too small for what is asked of {self.net.name}, or not of a size that it "
                f"takes; it is made for {made_for}. {error}"
            ) from error

    def _check(self, found: _Measured, now: Controls, step: int, last: Frame | None) -> None:
        numbers = {"score": sum(found.scores), "gradient": found.gradient_norm, "picture": found.extent}
        bad = next((name for name, number in numbers.items() if not math.isfinite(number)), None)
        if bad is None and found.extent <= EXPLODED:
            return
        what = f"The {bad} became {numbers[bad]}" if bad else f"The picture grew to {found.extent:.3g} times its range"
        if step == 0:
            raise SynthesisError(f"{what} on the very first picture: the network or the objective is at fault.", 0)
        lower = [f"{n} (now {getattr(now, n):g})" for n in ("learning_rate", "l2", "tv") if getattr(now, n)]
        raise SynthesisError(f"{what} at step {step}: lower {' or '.join(lower)}.", step, last)

    def _frame(self, found: _Measured, step: int, provenance: Provenance) -> Frame:
        return Frame(
            step,
            self.steps,
            found.picture,
            found.scores,
            found.gradient_norm,
            found.costs,
            found.logits,
            self.net.classes,
            self.colours,
            self.net,
            self.objective,
            provenance,
            found.file,
        )

    def _move(self, found: _Measured, now: Controls, step: int) -> None:
        """One step uphill, and what is done to the picture after it."""
        with torch.inference_mode(False), torch.no_grad():
            parameters = [p.detach() for p in self.parameterization.parameters]
            self.parameterization.parameters = self.optimiser(parameters, found.uphill, now.learning_rate)
            if now.edits or self.within:
                picture = edited(self.parameterization.picture(), found.contribution, now, step)
                if self.within:
                    picture = torch.clamp(picture, *self.within)
                self.parameterization.set(picture)


@dataclass(frozen=True)
class _Measured:
    """What one forward and one backward pass found out about a picture."""

    picture: Tensor
    file: Tensor | None
    scores: tuple[float, ...]
    gradient_norm: float
    extent: float
    costs: dict[str, float]
    logits: Tensor | None
    uphill: list[Tensor]
    contribution: Tensor | None
