"""Several scores of one map, one after the other: no number is a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbcnnviz.attribution import Attribution, methods
from nbcnnviz.core.errors import MethodNotApplicableError, NbcnnvizError, StaleTraceError, UnknownOptionError
from nbcnnviz.metrics.curves import Curve, deletion, insertion, road
from nbcnnviz.metrics.faithfulness import infidelity, sensitivity
from nbcnnviz.metrics.pointing import pointing
from nbcnnviz.metrics.score import Score

_SHARES = (0.1, 0.3, 0.5, 0.7)


@dataclass(frozen=True)
class MetricInput:
    """What a metric is told: the map, the options that it was made with, the object's box, the seed."""

    result: Attribution
    options: Mapping[str, Any]
    box: Any
    picture: int
    seed: int


@dataclass(frozen=True)
class Metric:
    """One way of judging a map.

    Attributes
    ----------
    name, title : str
        What it is called in Python and on the screen.
    better : str
        ``"higher"``, ``"lower"``, or ``""`` where neither is.
    needs_box : bool
        Whether it has to be told where the object is.
    cost : str
        What it takes, in words.
    """

    name: str
    title: str
    better: str
    needs_box: bool
    cost: str
    run: Callable[[MetricInput], Score | Curve]


@dataclass(frozen=True, eq=False)
class Judged:
    """What one metric says of a map.

    Attributes
    ----------
    metric : Metric
        Which.
    score : Score, Curve or None
        What it found; None where it has no meaning for this map.
    error : str
        Why not, in a sentence.
    """

    metric: Metric
    score: Score | Curve | None
    error: str = ""

    def __repr__(self) -> str:
        return f"<{self.metric.title}: {self.error or self.score!r}>"

    @property
    def value(self) -> float:
        """The number: of a curve its area; NaN where there is none."""
        return float("nan") if self.score is None else float(self.score)

    @property
    def chance(self) -> float | None:
        """What a map that knows nothing gets, where that is known."""
        return None if self.score is None else self.score.chance


def judge(
    result: Attribution,
    metrics: Sequence[str] | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    box: Any = None,
    picture: int = 0,
    seed: int = 0,
) -> Iterator[Judged]:
    """Judge a map by several metrics, the cheapest first.

    Each is tried with few steps, for an answer within seconds; the functions of `nbcnnviz.metrics` take more.

    Parameters
    ----------
    result
        The map.
    metrics
        Names from `METRICS`. Default: all, but for those that need a box where none is given.
    options
        The options that the map was made with, which max-sensitivity needs.
    box
        Where the object is, as `pointing` takes it.
    picture
        Which of the batch.
    seed
        Of what is drawn at random.

    Yields
    ------
    Judged
        One a metric. What has no meaning for this map, or fails, says why, and stops no other.

    Raises
    ------
    UnknownOptionError
        If there is no such metric.
    """
    names = [name for name, m in METRICS.items() if box is not None or not m.needs_box] if metrics is None else metrics
    for name in names:
        if name not in METRICS:
            raise UnknownOptionError(name, METRICS, f"The metrics are {', '.join(METRICS)}.")
    given = MetricInput(result, dict(options or {}), box, picture, seed)
    return (_judged(METRICS[name], given) for name in METRICS if name in names)


def _judged(metric: Metric, given: MetricInput) -> Judged:
    if metric.needs_box and given.box is None:
        return Judged(metric, None, "Mark where the object is: a box on the picture.")
    try:
        return Judged(metric, metric.run(given))
    except StaleTraceError:
        raise
    except NbcnnvizError as error:
        return Judged(metric, None, str(error))


def _completeness(given: MetricInput) -> Score:
    """By how much a map's sum is not what it promises to be, as a share of the sum."""
    result, at = given.result, given.picture
    if result.completeness is None:
        raise MethodNotApplicableError(
            f"{methods()[result.method].title} does not promise that its values add up to a difference of scores."
        )
    total, error = float(result.values[at].double().sum()), float(result.completeness[at])
    return Score(
        "completeness error",
        error / abs(total) if total else float("nan"),
        None,
        "How far the map's sum is from the change of the score that it accounts for, as a share of it: 0 is exact.",
        {"sum": total, "error": error},
    )


def _sensitivity(given: MetricInput) -> Score:
    result = given.result
    return sensitivity(
        result.trace,
        method=result.method,
        target=result.target,
        layer=result.layer,
        picture=given.picture,
        samples=4,
        seed=given.seed,
        options=given.options,
    )


def _pointing(given: MetricInput) -> Score:
    return pointing(given.result, given.box, picture=given.picture)


def _inside(given: MetricInput) -> Score:
    """The share of the map that lies on the object, which pointing finds along the way."""
    found = pointing(given.result, given.box, tolerance=0, picture=given.picture)
    meaning = "The share of the map's positive values that lies on the object."
    return Score("inside", found.details["inside"], found.chance, meaning)


def _curve(measure: Callable[..., Curve], **given: Any) -> Callable[[MetricInput], Curve]:
    return lambda a: measure(a.result.trace, a.result, picture=a.picture, seed=a.seed, **given)


def _infidelity(given: MetricInput) -> Score:
    a = given
    return infidelity(a.result.trace, a.result, picture=a.picture, samples=24, scaled=True, seed=a.seed)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("completeness", "Completeness error", "lower", False, "none", _completeness),
        Metric("pointing", "Pointing game", "higher", True, "none", _pointing),
        Metric("inside", "Share inside", "higher", True, "none", _inside),
        Metric("infidelity", "Infidelity", "lower", False, "25 F", _infidelity),
        Metric("insertion", "Insertion", "higher", False, "3 x 26 F", _curve(insertion, steps=25, random_maps=2)),
        Metric("deletion", "Deletion", "lower", False, "3 x 26 F", _curve(deletion, steps=25, random_maps=2)),
        Metric("sensitivity", "Max-sensitivity", "lower", False, "5 times the map", _sensitivity),
        Metric("road", "ROAD", "lower", False, "8 F and as many systems of equations", _curve(road, shares=_SHARES)),
    )
}
"""Every metric by name, the cheapest first."""
