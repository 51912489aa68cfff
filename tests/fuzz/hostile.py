"""What a stranger may send: any JSON, any letters, and valid things with a part changed."""

from __future__ import annotations

import copy
import json
import resource
import sys
import time
import traceback
from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from atlas.errors import AtlasError

SECONDS = 5.0
"""Of the processor, for one input: other tests run beside this one."""

MEMORY = 1 << 30
"""Bytes that all inputs together may add to the largest size of the process."""

NUMBERS = (
    0,
    -1,
    1,
    2,
    255,
    4096,
    10**6,
    2**31,
    2**63,
    2**64,
    -(2**63),
    10**30,
    0.5,
    -0.0,
    1e-320,
    1e308,
    float("inf"),
    float("nan"),
)

LETTERS = ("", "\x00", "\ud800", "a\udfffb", "\u202e", "\ufeff", "e\u0301" * 50, "\U0001f469\u200d\U0001f469", "../../etc/passwd",
           "<script>", "{{7*7}}", "__class__", "x" * 1_200, "[MASK]", "[CLS]", "</s>", "\u0600", "\n", "nan")  # fmt: skip

letters = st.text(st.characters(), max_size=30) | st.sampled_from(LETTERS)
"""Any code points: halves of surrogate pairs and control characters among them."""

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(NUMBERS) | letters
anything = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=12
)
"""Any JSON."""

seeds = st.integers(0, 2**32 - 1)


def changed(value: Any) -> st.SearchStrategy[Any]:
    """A JSON value with some of its parts replaced, left out, repeated or wrapped."""
    return seeds.map(lambda seed: change(value, Random(seed)))


def change(value: Any, random: Random) -> Any:
    """A JSON value with one to four changes."""
    found = copy.deepcopy(value)
    for _ in range(random.randint(1, 4)):
        holder, key = _place(found, random)
        if holder is None:
            return odd(random)
        what = random.randrange(6)
        if what == 0:
            del holder[key]
        elif what == 1 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif what == 1:
            holder[random.choice(LETTERS)] = copy.deepcopy(holder[key])
        elif what == 2:
            holder[key] = [holder[key]]
        else:
            holder[key] = odd(random)
    return found


def odd(random: Random) -> Any:
    """A value that nobody expects."""
    value: Any = random.choice(
        (None, True, False, random.choice(NUMBERS), random.choice(LETTERS), random.choice(LETTERS), [], {})
    )
    for _ in range(random.choice((0, 0, 0, 1, 2))):
        value = [value, value] if random.random() < 0.5 else {random.choice(LETTERS): value}
    return value


def _place(value: Any, random: Random) -> tuple[Any, Any]:
    """A holder and a key or index in it, as often near the root as far from it."""
    holder = key = None
    while isinstance(value, dict | list) and value:
        if holder is not None and random.random() < 0.25:
            break
        holder, key = value, random.choice(list(value) if isinstance(value, dict) else range(len(value)))
        value = holder[key]
    return holder, key


def bytes_changed(data: bytes, random: Random) -> bytes:
    """Bytes with some of them flipped, cut off, put in, zeroed or moved."""
    made = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 5, 40))):
        at = random.randrange(len(made) + 1)
        what, size = random.randrange(6), random.choice((1, 4, 64))
        if what <= 1 and at < len(made):
            made[at] = random.randrange(256)
        elif what == 2:
            made[at : at + size] = bytes(min(size, len(made) - at))
        elif what == 3:
            made[at:at] = random.randbytes(size)
        elif what == 4:
            del made[at : at + size]
        elif random.random() < 0.2:
            del made[at:]
    return bytes(made)


def as_json(value: Any) -> bytes:
    """JSON as a stranger writes it: half of a surrogate pair as its escape, and NaN."""
    return json.dumps(value).encode()


def attack(strategy: st.SearchStrategy[Any], times: int, work: Callable[[Any], Any]) -> None:
    """Do something with as many hostile inputs; nothing but an AtlasError may leave it, and it may take neither long nor much.

    All kinds of failures are told at once, each with its first input.
    """
    before, failures, longest = peak(), {}, [0.0]

    @settings(max_examples=times, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(strategy)
    def each(hostile: Any) -> None:
        begun, failed = time.process_time(), ""
        try:
            work(hostile)
        except AtlasError as error:
            failed = "" if str(error).strip() else f"{type(error).__name__} without a word"
        except Exception as error:  # noqa: BLE001  (told below)
            failed = told(error)
        took = time.process_time() - begun
        longest.append(took)
        failed = failed or (f"took {took:.1f} s" if took > SECONDS else "")
        if failed:
            failures.setdefault(failed, repr(hostile)[:600])

    each()
    grown = peak() - before
    slowest = max(longest)
    print(f"{len(longest) - 1:,} inputs, the slowest took {slowest:.1f} s, all together {grown / 2**20:,.0f} MiB")  # noqa: T201  (with -s)
    assert not failures, "\n\n".join(f"{failed}\n    {hostile}" for failed, hostile in failures.items())
    assert grown < MEMORY, f"{grown / 2**20:,.0f} MiB"


def told(error: Exception) -> str:
    """What an error is and where it came up, in few lines that are the same each time."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/atlas/" in frame.filename][-3:]
    places = [f"{frame.filename.rpartition('/atlas/')[2]}:{frame.lineno}" for frame in ours]
    last = frames[-1]
    return f"{type(error).__name__} in {' > '.join(places)} ({last.filename.rpartition('/')[2]}:{last.lineno})"


def peak() -> int:
    """The largest size this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
