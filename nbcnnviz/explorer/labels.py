"""What classes are called in a menu."""

from __future__ import annotations

from nbcnnviz.core.network import Network


def class_label(network: Network, index: int) -> str:
    """A class as the search field shows it: its name with its index, since names may be shared."""
    return f"{network.classes[index]} ({index})"


def class_labels(network: Network) -> dict[str, int]:
    """Every class as the search field shows it, in the order of the alphabet."""
    labels = {class_label(network, i): i for i in range(len(network.classes))}
    return dict(sorted(labels.items(), key=lambda item: item[0].lower()))
