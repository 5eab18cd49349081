"""The Synthesize panel: pictures made by gradient ascent, live."""

from nbcnnviz.explorer.panels.synthesize.panel import SynthesizePanel

__all__ = ["SynthesizePanel"]
