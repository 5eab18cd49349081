"""Recipes for a picture out of nothing: what a class, a channel or a unit looks for.

They differ in what the picture is made of, in how a gradient becomes a step, and in what keeps noise away.
"""

from __future__ import annotations

from typing import Any

from nbcnnviz.core.network import Network
from nbcnnviz.core.targets import TargetLike
from nbcnnviz.synthesis.ascent import Frames, Schedule
from nbcnnviz.synthesis.controls import Controls
from nbcnnviz.synthesis.recipe import Size, begin, recipe


@recipe("Feature visualization (Lucid)")
def feature_visualization(net: Network, objective: TargetLike = 0, *, steps: int = 512, **options: Any) -> Frames:
    """A picture of waves, seen from many sides: the recipe of Lucid (Olah et al. 2017), with its numbers.

    The Fourier parameterization with decorrelated colours, from noise of standard deviation 0.01; Adam at a learning rate of
    0.05; views on grey, shifted by 8 pixels, magnified by 0.9 to 1.1, turned by up to 10 degrees, shifted by 4; dead
    rectifiers woken for 16 steps. 256 steps are enough for a class of the bundled network.

    ``options`` are those of `synthesize`.
    """
    return begin("feature_visualization", net, objective, steps=steps, **options).frames()


@recipe(
    "Class model (Simonyan)",
    own={"optimiser": "normalised", "start": "mean"},
    learning_rate=3,
    l2=3e-4,
    jitter=16,
    rotate=5,
    jitter_after=0,
)
def class_model(net: Network, objective: TargetLike = 0, *, steps: int = 256, **options: Any) -> Frames:
    """The picture that a class is to the network: ``argmax S_c(I) - l2 |I|^2`` (Simonyan et al. 2013, equation 1).

    As there: the score is the logit, never the probability; ``I`` is the picture less the mean colour, starts from
    zero, and has the mean added back when shown. Unlike there, ``I`` is drawn by its waves (the Fourier parameterization) and
    seen from a new view at each step, shifted by 16 pixels, magnified by 0.9 to 1.1, turned by up to 5 degrees: networks
    trained since answer to noise otherwise. Every step is equally long: 3 in the spectrum.
    ``parameterization="pixels", optimiser="ascent", learning_rate=1, jitter=0, scale=0, rotate=0`` is the bare original.

    ``options`` are those of `synthesize`.
    """
    return begin("class_model", net, objective, steps=steps, **options).frames()


@recipe(
    "Deep visualization (Yosinski)", own={"parameterization": "pixels", "optimiser": "normalised", "clip": True, "start": "noise"},
    learning_rate=8, decay=1e-4, blur_every=4, blur_radius=1, jitter=0, scale=0, rotate=0, jitter_after=0,
)  # fmt: skip
def deep_visualization(net: Network, objective: TargetLike = 0, *, steps: int = 1000, **options: Any) -> Frames:
    """Pixels that are blurred and fade as they grow: the regularizers of Yosinski et al. 2015, section 3.

    From noise; a decay of 1e-4 a step, a Gaussian blur of radius 1 every 4 steps, pixels kept between black and white,
    1000 steps. Every step is equally long: 8, in the units of the network's input. ``clip_norm`` and
    ``clip_contribution``, in per cent of the pixels, are the two regularizers more that they describe.

    ``options`` are those of `synthesize`.
    """
    return begin("deep_visualization", net, objective, steps=steps, **options).frames()


@recipe("Free choice")
def synthesize(
    net: Network,
    objective: TargetLike = 0,
    *,
    steps: int = 256,
    size: Size = None,
    seed: int = 0,
    start: Any = None,
    pictures: int = 1,
    parameterization: str = "fourier",
    canvas: str | None = None,
    optimiser: str = "adam",
    clip: bool = False,
    precision: str = "float32",
    mixed: bool = False,
    controls: Controls | None = None,
    schedule: Schedule | None = None,
    **settings: Any,
) -> Frames:
    """Make a picture that raises an objective, step by step.

    Parameters
    ----------
    net
        Whose idea of the objective the picture shows.
    objective
        A class index or name, any `Target`, such as ``nv.Channel("layer3", 17) - 0.5 * nv.Channel("layer3", 4)``, or a
        function of the trace. A list asks for a gallery: one picture for each, all in one run, each as it would be alone.
    steps
        How many; there is one frame more, the first showing the picture that the run starts from.
    size
        Height and width, or one number for both. Default: what the network is made for.
    seed
        Of every random number; the same seed gives the same run.
    start
        A picture to start from, as `load_image` takes it, a preprocessed (N, C, H, W) tensor, a `Frame`; ``"noise"``, or
        ``"mean"`` for the mean colour. Default: noise for the Fourier parameterization, the mean colour for pixels.
    pictures
        How many, of one objective; from different noise. Default: 1, or as many as ``start`` holds.
    parameterization
        ``"fourier"`` or ``"pixels"``.
    canvas
        The old name of ``parameterization``; it goes with version 0.2.
    optimiser
        ``"adam"``, ``"ascent"`` or ``"normalised"``.
    clip
        Whether pixels are kept between black and white; those of the Fourier parameterization always are.
    precision
        What the network computes in: ``"float32"``; ``"bfloat16"`` from the 16th step on, when it is settled what is where
        in the picture, which stays float32; or ``"auto"``, the faster of both on this processor, measured before the first
        frame, if the gradients are alike. The frame's provenance says what was chosen, and why.
    mixed
        Whether the network runs in bfloat16: an older way to say ``precision="bfloat16"``.
    controls
        The numbers that may be moved while the run goes on. Default: the recipe's.
    schedule
        Changes to them by step, as a frame's provenance lists them.
    **settings
        Single numbers of the controls.

    Returns
    -------
    Generator[Frame]
        Frame 0 to frame ``steps``. Close it to stop.

    Raises
    ------
    UnknownClassError, UnknownLayerError, UnknownOptionError
        At once, if something asked for does not exist.
    FilterRangeError, ImageError
        At the first frame, if a channel or unit does not exist or the picture is too small for the layer.
    SynthesisError
        If the picture or its score goes out of bounds; it says at which step, and holds the last good frame.
    """
    return begin(
        "synthesize", net, objective, steps=steps, size=size, seed=seed, start=start, pictures=pictures, parameterization=parameterization, canvas=canvas,
        optimiser=optimiser, clip=clip, precision=precision, mixed=mixed, controls=controls, schedule=schedule, **settings,
    ).frames()  # fmt: skip
