"""What is needed of every tensor on the way to some places of a tensor: nodes of the autograd graph, one after another.

What carries no gradient (a comparison, an index, ``detach``) leaves no node, and is not seen.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch.autograd.graph import Node

from nbcnnviz.inside.axes import Dims, Edge, shape_of, union
from nbcnnviz.inside.needs import Use, needs


def footprints(edge: Edge, dims: Dims, questions: int) -> dict[Edge, Dims]:
    """What is needed of every tensor on the way down from ``edge``, of which ``dims`` are needed.

    The keys are nodes with the number of their output, as in ``node.next_functions``.
    """
    needed: dict[Edge, Dims] = {edge: dims}
    outputs: dict[Node, list[int]] = {edge[0]: [edge[1]]}
    for node in in_order(edge[0]):
        following = [None if after is None else (after, number) for after, number in node.next_functions]
        shapes = [None if after is None else shape_of(after) for after in following]
        for output in outputs.get(node, ()):
            use = Use(output, needed[node, output], questions)
            for after, own in zip(following, needs(node, use, shapes), strict=True):
                if after is None or own is None:
                    continue
                if after in needed:
                    needed[after] = union(needed[after], own)
                else:
                    needed[after] = own
                    outputs.setdefault(after[0], []).append(after[1])
    return needed


def in_order(root: Node) -> Iterator[Node]:
    """Every node behind ``root``, each after all that use it."""
    done: dict[Node, bool] = {}
    finished, stack = [], [root]
    while stack:
        node = stack[-1]
        if node not in done:
            done[node] = False
            stack += [after for after, _ in node.next_functions if after is not None and after not in done]
            continue
        stack.pop()
        if not done[node]:
            done[node] = True
            finished.append(node)
    return reversed(finished)
