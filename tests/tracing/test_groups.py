"""Jobs of heads: none is told where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.metrics.roles import ROLES
from atlas.tracing.groups import UNTOLD, roles
from atlas.tracing.selected_heads import selected_heads
from tests.state.readers import CROSS, DECODER, ENCODER, both, single


def test_rows_that_see_one_token_only_tell_no_job():
    trace = single(DECODER, layers=2, heads=4)
    alone = selected_heads(trace, DECODER, [0])
    assert alone[list(ROLES)].isna().all(axis=None)
    assert roles(alone) == [UNTOLD] * 8
    assert UNTOLD == "N/A"
    for queries in ((), (1,), (0, 1), (7,)):
        assert UNTOLD not in roles(selected_heads(trace, DECODER, queries))


def test_a_head_of_which_one_metric_is_known_has_a_job_and_the_others_none():
    table = selected_heads(single(DECODER, layers=2, heads=4))
    table.loc[:, list(ROLES)] = np.nan
    table.loc[3, "previous"] = 0.9
    found = roles(table)
    assert found[3] != UNTOLD
    assert found[:3] + found[4:] == [UNTOLD] * 7


@pytest.mark.parametrize("kind", [ENCODER, DECODER, CROSS])
def test_on_the_whole_text_every_head_has_a_job_or_several(kind):
    trace = both()
    assert UNTOLD not in roles(selected_heads(trace, kind))
