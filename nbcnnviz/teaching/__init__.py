"""For the classroom: a small network on handwritten digits, a shortcut planted in its pictures, and checks of exercises."""

from nbcnnviz.teaching.checking import Verdict, check, exercises
from nbcnnviz.teaching.digits import MARKED_CLASS, Digits, digits, marked
from nbcnnviz.teaching.learning import Progress, accuracy, digits_network, learn, network_of
from nbcnnviz.teaching.modules import digits_module
from nbcnnviz.teaching.showing import chart, row

__all__ = [
    "MARKED_CLASS",
    "Digits",
    "Progress",
    "Verdict",
    "accuracy",
    "chart",
    "check",
    "digits",
    "digits_module",
    "digits_network",
    "exercises",
    "learn",
    "marked",
    "network_of",
    "row",
]
