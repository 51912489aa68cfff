"""What is taken in turns, a part a day, is taken by the number of the round."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime

ROUND = "ATLAS_TEXTS_ROUND"
"""Name of the environment variable with the number of the round: a run takes the texts, and the tab, of its round."""


def this_round() -> int:
    """The number of the round: one a day, so that a failure of the morning is seen again in the afternoon."""
    return int(os.environ.get(ROUND, date.toordinal(datetime.now(tz=UTC).date())))
