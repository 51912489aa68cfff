"""What a head writes for a token it looks at, as tokens: what that raises and lowers through the unembedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.ids import stream_of
from atlas.tracing.logit_lens import stream_kind, without_lens

if TYPE_CHECKING:
    from atlas.ids import HeadId
    from atlas.trace import Trace

Array = np.ndarray

HEAD_READINGS = "head readings"
"""Name of the task that reads what a head writes through the unembedding."""

TOP_PROMOTED, TOP_SUPPRESSED = 6, 4
"""Tokens shown of each list: promoted ones tell what a head copies, suppressed ones are read less."""


class HeadReadings(NamedTuple):
    """What one head writes for each of some tokens, were all of its attention on that token."""

    head: HeadId
    keys: tuple[int, ...]
    lengths: Array
    """(key,) length of what is written"""
    promoted: Array
    """(key, rank) names of the tokens whose logit it raises most"""
    raised: Array
    """(key, rank) by how much, against nothing written, through the final norm and the unembedding"""
    suppressed: Array
    """(key, rank) names of those it lowers most"""
    own_rank: Array
    """(key,) rank of the token itself among all that are raised; 1: it is raised most, so the head copies it"""
    n_tokens: int
    """Tokens of the vocabulary."""


def without_readings(trace: Trace, kind: str) -> str:
    """Why what heads of a kind write is not read as tokens; empty: it is."""
    reason = without_lens(trace)
    if reason:
        return reason
    if stream_of(kind) != stream_kind(trace):
        return "the unembedding reads the decoder's stream, and these heads write into the encoder's."
    return (
        ""
        if trace.live is not None and trace.live.group_of("output_projection") is not None
        else "its heads' output is not known."
    )
