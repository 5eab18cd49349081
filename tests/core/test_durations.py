from __future__ import annotations

import pytest

from nbcnnviz.core.durations import duration, whole_seconds


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"), (0.0381, "38.1 ms"), (0.4567, "457 ms"), (0.9994, "999 ms"), (0.9999, "1 s"), (1.04, "1 s"),
        (3.857, "3.9 s"), (9.94, "9.9 s"), (9.96, "10 s"), (72.4, "72 s"), (240, "4 min"), (5400, "1.5 h"),
    ],
)  # fmt: skip
def test_a_time_is_said_in_the_unit_that_suits_it(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (3.857, "4 s"), (61, "61 s"), (600, "10 min")])
def test_what_is_estimated_is_said_in_whole_seconds(seconds, words):
    assert whole_seconds(seconds) == words
