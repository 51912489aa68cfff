"""The episodes of the stories, read from episodes.txt: short chains of cause and effect, for one person or for two."""

from __future__ import annotations

from pathlib import Path

Step = tuple[str, ...]
Episode = tuple[Step, ...]

FILE = Path(__file__).with_name("episodes.txt")
KINDS = ("alone", "together")


def read(text: str) -> dict[str, tuple[Episode, ...]]:
    """Episodes by kind; every step is a tuple of ways to say it, one of which is drawn."""
    found: dict[str, list[Episode]] = {kind: [] for kind in KINDS}
    for block in text.split("\n== ")[1:]:
        title, _, body = block.partition("\n")
        steps = tuple(tuple(step.split("\n")) for step in body.strip().split("\n\n"))
        found[title.partition(":")[0]].append(steps)
    return {kind: tuple(episodes) for kind, episodes in found.items()}


EPISODES = read(FILE.read_text(encoding="utf-8"))
ALONE, TOGETHER = EPISODES["alone"], EPISODES["together"]
