"""For the classroom: a small network on handwritten digits, a shortcut planted in its pictures, checks of exercises, work handed in."""

from nbcnnviz.teaching.checking import Verdict, check, exercises
from nbcnnviz.teaching.digits import MARKED_CLASS, Digits, digits, marked
from nbcnnviz.teaching.handing_in import Attempt, HandIn, Work, hand_in, handed_in
from nbcnnviz.teaching.learning import Progress, accuracy, digits_network, learn, network_of
from nbcnnviz.teaching.modules import digits_module
from nbcnnviz.teaching.showing import chart, row

__all__ = [
    "Attempt",
    "MARKED_CLASS",
    "Digits",
    "HandIn",
    "Progress",
    "Verdict",
    "Work",
    "accuracy",
    "chart",
    "check",
    "digits",
    "digits_module",
    "digits_network",
    "exercises",
    "hand_in",
    "handed_in",
    "learn",
    "marked",
    "network_of",
    "row",
]
