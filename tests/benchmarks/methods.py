"""Methods of many passes beside Captum, pytorch-grad-cam and TorchRay, each at its best batch; ResNet-50 unless said.

On a GPU (``--device cuda``) the same tables, and whether the maps are those of the CPU. What would take some minutes is
measured on a part that costs the same a pass: the note says which.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import torch
import torchvision
from captum.attr import IntegratedGradients, NoiseTunnel, Occlusion, Saliency
from pytorch_grad_cam import AblationCAM, ScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchray.attribution.rise import rise

import nbcnnviz as nv
from tests.benchmarks.api import forward
from tests.benchmarks.peers import quiet, twin
from tests.benchmarks.table import Row, at_least, at_most, ms
from tests.benchmarks.timing import interleaved

CAMS = ("grad_cam", "grad_cam_plus_plus", "hires_cam", "layer_cam", "xgrad_cam")
BATCHES = {"cpu": (1, 4, 16), "cuda": (16, 64, 256)}
"""The batches that a peer is tried with; the quickest counts."""


def tables(rounds: int, device: str = "cpu") -> Iterator[tuple[str, list[Row]]]:
    """Every table of this section."""
    torch.manual_seed(0)
    few, module = max(2, rounds // 5), torchvision.models.resnet50(weights=None).eval()
    net, x = nv.Network(module.to(device)), torch.randn(1, 3, 224, 224, device=device)
    module = net.module
    with quiet():
        yield "All gradient CAMs at layer4", all_cams(net, x, rounds)
        yield "100 classes' Grad-CAMs at layer4, after the first", hundred(module, net, x, few)
        yield "Integrated gradients and SmoothGrad", paths(module, net, x, few, 50 if rounds > 7 else 16)
        yield "Score-CAM and Ablation-CAM", masked(module, net, x, few)
        yield "RISE", masks(module, net, x, few, 512 if rounds > 7 else 128)
        yield "Occlusion, VGG-16", occluded(x, few, 8 if rounds > 7 else 24)
        if device != "cpu":
            yield "Maps beside the CPU's", same_maps(net, x)


def all_cams(net: nv.Network, x: Tensor, rounds: int) -> list[Row]:
    """Five maps of one trace over one map, the pass counted in."""

    def some(names: tuple[str, ...]) -> object:
        trace = net.trace(x, layers={"layer4"}, from_layers=True)
        return [nv.attribute(trace, method=name, target=281, layer="layer4").values for name in names]

    took = interleaved({"one": synced(x, lambda: some(CAMS[:1])), "all five": synced(x, lambda: some(CAMS))}, rounds)
    return [*_rows(took), at_most("all five / one", took["all five"] / took["one"], 1.1)]


def hundred(module: nn.Module, net: nv.Network, x: Tensor, rounds: int) -> list[Row]:
    """One trace, a hundred questions."""
    trace = net.trace(x)
    nv.attribute(trace, method="grad_cam", target=999, layer="layer4")

    def all_classes() -> object:
        return [nv.attribute(trace, method="grad_cam", target=c, layer="layer4").values for c in range(100)]

    took = interleaved({"100 classes": synced(x, all_classes), "F": synced(x, lambda: forward(module, x))}, rounds)
    return [*_rows(took), at_most("100 classes / F", took["100 classes"] / took["F"], 0.5)]


def paths(module: nn.Module, net: nv.Network, x: Tensor, rounds: int, steps: int) -> list[Row]:
    """Against Captum, whose batch is chosen."""
    module = twin(module)
    integrated, smooth, black = IntegratedGradients(module), NoiseTunnel(Saliency(module)), torch.zeros_like(x)
    rows = []
    for title, name, options, theirs in (
        (
            f"IG-{steps}",
            "integrated_gradients",
            {"steps": steps, "baseline": black},
            lambda batch: integrated.attribute(
                x, black, target=281, n_steps=steps, method="gausslegendre", internal_batch_size=batch
            ),
        ),
        (
            f"SmoothGrad-{steps}",
            "smooth_grad",
            {"samples": steps},
            lambda batch: smooth.attribute(
                x,
                nt_type="smoothgrad",
                nt_samples=steps,
                nt_samples_batch_size=min(batch, steps),
                stdevs=0.9,
                target=281,
            ),
        ),
    ):
        batch = quickest(x, theirs)
        took = interleaved(
            {
                f"Captum, batch {batch}": synced(x, lambda: theirs(batch)),  # noqa: B023
                "ours": synced(x, lambda: nv.attribute(net, x, method=name, target=281, **options)),  # noqa: B023
            },
            rounds,
            warm_up=1,
        )
        captum, ours = took.values()
        note = ", ".join(f"{who} {ms(seconds)}" for who, seconds in took.items())
        rows.append(at_least(f"{title}: Captum / ours", captum / ours, 1.3, note))
    return rows


def masked(module: nn.Module, net: nv.Network, x: Tensor, rounds: int) -> list[Row]:
    """Against pytorch-grad-cam: Score-CAM of the 64 maps of maxpool, Ablation-CAM of a part of layer4's for it, of all for us."""
    held, targets = twin(module), [ClassifierOutputTarget(281)]
    rows = []

    def theirs(batch: int) -> object:
        with silent(), ScoreCAM(held, [held.maxpool]) as cam:
            cam.batch_size = batch
            return cam(x, targets)

    batch = quickest(x, theirs)
    took = interleaved(
        {
            f"pytorch-grad-cam, batch {batch}": synced(x, lambda: theirs(batch)),
            "ours": synced(x, lambda: nv.attribute(net, x, method="score_cam", target=281, layer="maxpool")),
        },
        max(1, rounds // 2),
        warm_up=0,
    )
    other, ours = took.values()
    note = f"{ms(other)}, {ms(ours)}; 64 maps of maxpool, where layer4 takes 2048 of the same passes"
    rows.append(at_least("Score-CAM: theirs / ours", other / ours, 1.5, note))

    def ablated() -> object:
        with silent(), AblationCAM(held, [held.layer4], ratio_channels_to_ablate=1 / 32) as cam:
            cam.batch_size = batch
            return cam(x, targets)

    took = interleaved(
        {
            "theirs": synced(x, ablated),
            "ours": synced(x, lambda: nv.attribute(net, x, method="ablation_cam", target=281, layer="layer4")),
        },
        max(1, rounds // 2),
        warm_up=1,
    )
    note = f"{ms(took['theirs'])} for 64 of 2048 channels, {ms(took['ours'])} for all"
    return [*rows, at_least("Ablation-CAM: theirs / ours", took["theirs"] / took["ours"], 20, note)]


def masks(module: nn.Module, net: nv.Network, x: Tensor, rounds: int, count: int) -> list[Row]:
    """Against TorchRay: a mask costs the same whether there are hundreds or thousands."""
    held = twin(module)

    def theirs(batch: int) -> object:
        return rise(held, x, num_masks=count, batch_size=batch)

    batch = quickest(x, theirs)
    took = interleaved(
        {
            f"TorchRay, batch {batch}": synced(x, lambda: theirs(batch)),
            "ours": synced(x, lambda: nv.attribute(net, x, method="rise", target=281, masks=count)),
        },
        rounds,
        warm_up=0,
    )
    torchray, ours = took.values()
    note = f"{count} masks: {', '.join(f'{who} {ms(seconds)}' for who, seconds in took.items())}"
    return [at_least("TorchRay / ours", torchray / ours, 1.3, note)]


def occluded(x: Tensor, rounds: int, stride: int) -> list[Row]:
    """Window 32, stride 8 (24 in a quick run); the same map but for rounding."""
    net = nv.Network(torchvision.models.vgg16(weights=None).eval().to(x.device), name="VGG-16")
    captum = Occlusion(twin(net.module))
    black = torch.zeros_like(x)

    def theirs(batch: int) -> Tensor:
        return captum.attribute(
            x, (3, 32, 32), strides=(3, stride, stride), baselines=0, target=281, perturbations_per_eval=batch
        )

    def ours() -> Tensor:
        return nv.attribute(net, x, method="occlusion", target=281, window=32, stride=stride, baseline=black).values

    batch = BATCHES["cpu" if x.device.type == "cpu" else "cuda"][0 if x.device.type == "cpu" else 1]
    took = interleaved(
        {"Captum": synced(x, lambda: theirs(batch)), "ours": synced(x, ours)}, max(1, rounds // 2), warm_up=0
    )
    difference = (theirs(batch)[:, :1] - ours()).abs().max() / ours().abs().max()
    note = f"stride {stride}, batch {batch}: {ms(took['Captum'])}, {ms(took['ours'])}"
    return [
        at_least("Captum / ours", took["Captum"] / took["ours"], 2, note),
        Row("largest difference, over the largest value", f"{difference:.1e}", "<= 1e-4", bool(difference <= 1e-4)),
    ]


def same_maps(net: nv.Network, x: Tensor) -> list[Row]:
    """Of every method, on the device and on the CPU."""
    cpu = nv.Network(copy.deepcopy(net.module).cpu())
    rows = []
    for name, method in nv.methods().items():
        options: dict[str, Any] = {"layer": "layer4"} if method.needs_layer else {}
        options |= {key: 8 for key in ("steps", "samples", "masks", "channels") if key in method.options}
        try:
            here, there = (
                nv.attribute(n, p, method=name, target=281, **options).values.cpu()
                for n, p in ((net, x), (cpu, x.cpu()))
            )
        except nv.NbcnnvizError as error:
            rows.append(Row(name, "-", note=str(error)[:80]))
            continue
        difference = float((here - there).abs().max() / there.abs().max())
        rows.append(Row(name, f"{difference:.1e}", "<= 1e-3", difference <= 1e-3))
    return rows


def quickest(x: Tensor, call: Callable[[int], object]) -> int:
    """The batch with which a call is quickest, of a few tried once each."""
    batches = BATCHES["cpu" if x.device.type == "cpu" else "cuda"]
    took = interleaved({str(b): synced(x, lambda b=b: call(b)) for b in batches}, 1, warm_up=0)  # type: ignore[misc]
    return int(min(took, key=took.__getitem__))


@contextmanager
def silent() -> Iterator[None]:
    """Without the bar of progress that pytorch-grad-cam draws."""
    with redirect_stderr(io.StringIO()):
        yield


def synced(x: Tensor, call: Callable[[], object]) -> Callable[[], object]:
    """A call that ends when the device has finished."""
    if x.device.type != "cuda":
        return call

    def until_done() -> object:
        result = call()
        torch.cuda.synchronize()
        return result

    return until_done


def _rows(took: dict[str, float]) -> list[Row]:
    return [Row(name, ms(seconds)) for name, seconds in took.items()]
