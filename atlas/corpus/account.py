"""What a monitor costs: seconds of the model and its own, counted from one clock; and what it saw and left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

FORGET = 0.8
"""What remains of a dear measurement in the next estimate: one slow moment must not stop the monitor for good."""


@dataclass
class Account:
    """The calls of a monitored model, and the time that each side took."""

    share: float
    """Of the model's time that the monitor may take."""
    calls: int = 0
    """Calls that returned a result."""
    decoding: int = 0
    """Of these the steps that went on from a cache: they read one token, and are not sampled."""
    sampled: int = 0
    """Calls that were measured."""
    texts: int = 0
    """Texts of these."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Reason -> calls whose turn it was and that were not measured: 'budget', 'unfit', 'failed'."""
    model_seconds: float = 0.0
    own_seconds: float = 0.0
    """Of everything that the monitor does in the model's calls: its hooks, statistics, writing, and waiting."""
    ratio: float = 1.0
    """Time of the statistics of a call, in times of the call; learnt."""
    writing: float = 0.0
    """Seconds that writing took last."""

    @property
    def taken(self) -> float:
        """The monitor's time as a share of the model's."""
        return self.own_seconds / self.model_seconds if self.model_seconds else 0.0

    def allows(self, seconds: float) -> bool:
        """Whether so much more would still be within the budget."""
        return self.own_seconds + seconds <= self.share * self.model_seconds

    def measured(self, cost: float, call: float) -> None:
        """Learn from the statistics of a call that took so long itself."""
        if call > 0:
            self.ratio = max(cost / call, FORGET * self.ratio)

    def __str__(self) -> str:
        left = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.skipped.items()))
        return (
            f"{self.calls:,} calls ({self.decoding:,} cached steps), {self.sampled:,} sampled ({self.texts:,} texts), "
            f"left out: {left or 'none'}; {self.taken:.2%} of the model's time"
        )
