"""Whether a value is finite, with and without the patch of HoloViews."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from holoviews.core import util
from holoviews.plotting import plot

from atlas.patches.ranges import patch_ranges

VALUES = (0.0, -1.5, float("nan"), float("inf"), np.float64("-inf"), np.float64(2), np.float32("nan"), 3, None, "word", True,
          np.datetime64("NaT"), dt.datetime(2024, 1, 1, tzinfo=dt.UTC), pd.NaT)  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_as_finite_as_without_the_patch(value):
    patch_ranges()
    assert util.isfinite(value) == util.isfinite.__wrapped__(value)
    assert plot.isfinite is util.isfinite


def test_arrays_are_looked_at_as_before_and_numbers_can_be_negated():
    patch_ranges()
    array = np.array([1.0, np.nan, np.inf])
    np.testing.assert_array_equal(util.isfinite(array), [True, False, False])
    assert bool(~util.isfinite(1.0)) is False
