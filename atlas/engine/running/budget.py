"""Estimates the memory of a run before it starts, so that a run that cannot fit is refused instead of killing the process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from atlas.engine.running.recorder import BLOCK_BYTES, Keep, TextShape
from atlas.errors import TooLarge, UnknownName
from atlas.tracing.statistics import THUMBNAIL

WEIGHTS_BYTES = 256 << 20
"""Up to this size keep='auto' keeps the weights themselves, because reading them is faster than recomputing them, and a few such
traces (12 x 12 heads at 680 tokens each) fit beside a model on any machine."""

MEMORY_SHARE = 0.8
"""Share of the free memory that a run may use."""

UNKNOWN_MEMORY = 8 << 30
"""Free memory that is assumed where the system does not report it."""

ROW_STATS, KEY_STATS = 14, 3
"""Numbers kept for every row, and for every key, of every head."""

BLOCKS_ALIVE = 4
"""Score blocks that exist at once while a layer is computed: scores, their masked copy, weights, and a temporary one."""


@dataclass(frozen=True, slots=True)
class KindSize:
    """The sizes of one kind of attention."""

    kind: str
    n_layers: int
    n_heads: int
    key_heads: int
    width: int
    itemsize: int


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The sizes of a model that decide how much memory a run needs."""

    kinds: tuple[KindSize, ...]
    n_outcomes: int
    group_widths: Mapping[str, int] = field(default_factory=dict)
    """Capture group -> numbers it keeps for one token, over all layers."""
    fixed: Mapping[str, int] = field(default_factory=dict)
    """Capture group -> numbers that it keeps for any text."""


def weights_bytes(size: ModelSize, shape: TextShape) -> int:
    """Bytes of all attention weights of a text."""
    return sum(
        kind.n_layers * kind.n_heads * shape.queries(kind.kind) * shape.keys(kind.kind) * max(kind.itemsize, 2)
        for kind in size.kinds
    )


def estimate(size: ModelSize, shape: TextShape, keep: Keep, groups: Iterable[str]) -> dict[str, int]:
    """Estimated bytes by purpose."""
    parts = {"weights": weights_bytes(size, shape) if keep == "weights" else 0, "queries, keys, values": 0, "statistics": 0}
    working = 0
    for kind in size.kinds:
        n_queries, n_keys = shape.queries(kind.kind), shape.keys(kind.kind)
        per_layer = kind.n_heads * n_queries * kind.width + 2 * kind.key_heads * n_keys * kind.width
        parts["queries, keys, values"] += kind.n_layers * per_layer * kind.itemsize
        rows = kind.n_heads * (ROW_STATS * n_queries + KEY_STATS * n_keys + min(n_queries, THUMBNAIL) * min(n_keys, THUMBNAIL))
        parts["statistics"] += kind.n_layers * rows * 4
        block = kind.n_heads * n_queries * n_keys * 4 if keep == "weights" else max(BLOCK_BYTES, n_queries * n_keys * 4)
        # The mask, its split and the templates of the repetition scores: five arrays of queries by keys.
        working = max(working, BLOCKS_ALIVE * block + 5 * n_queries * n_keys * 4)
    parts["the pass itself"] = working
    tokens = max(shape.n_source, shape.n_target)
    for group in groups:
        parts[group] = (tokens * size.group_widths.get(group, 0) + size.fixed.get(group, 0)) * 4
    # Every model computes all its logits at once, whether they are kept or not.
    parts["logits"] = tokens * size.n_outcomes * 4
    return parts


def free_bytes() -> int:
    """Memory available now, including caches that the system would free, up to the limit of the container."""
    found = [_meminfo_available(), _container_free()]
    return min((count for count in found if count is not None), default=UNKNOWN_MEMORY)


def _meminfo_available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _container_free(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = int((folder / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(int(limit) - used, 0)


def readable(count: int) -> str:
    """Bytes as text in MiB or GiB."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def choose(size: ModelSize, shape: TextShape, keep: str, groups: Iterable[str], n_texts: int = 1) -> Keep:
    """Decide how attention is kept; refuse a run of `n_texts` texts of this shape that does not fit, with the numbers."""
    wanted = tuple(groups)
    chosen: Keep
    if keep == "auto":
        chosen = "weights" if weights_bytes(size, shape) <= WEIGHTS_BYTES else "qk"
    elif keep in ("weights", "qk"):
        chosen = "weights" if keep == "weights" else "qk"
    else:
        msg = f"keep={keep!r} is not known; use 'auto', 'weights' or 'qk'."
        raise UnknownName(msg)
    parts = estimate(size, shape, chosen, wanted)
    needed, room = n_texts * sum(parts.values()), int(free_bytes() * MEMORY_SHARE)
    if needed > room:
        largest = sorted(parts.items(), key=lambda part: -part[1])[:3]
        listed = ", ".join(f"{name} {readable(n_texts * count)}" for name, count in largest)
        hint = "Use keep='qk', or a" if chosen == "weights" else "Use a"
        several = f"{n_texts} texts of up to " if n_texts > 1 else ""
        smaller = ", a smaller batch_size" if n_texts > 1 else ""
        msg = (
            f"Tracing {several}{shape.n_source:,} tokens would take {readable(needed)} and {readable(room)} may be used here "
            f"({listed}). {hint} shorter text{smaller}, or capture=() for fewer groups."
        )
        raise TooLarge(msg)
    return chosen
