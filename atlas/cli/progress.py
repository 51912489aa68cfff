"""A progress bar on standard error, only if that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Show = Callable[[int, int], None]
"""(done, all)"""


@contextmanager
def progress_bar(*, quiet: bool, name: str, unit: str = "text") -> Iterator[Show | None]:
    """A bar with the time left, for what runs a text many times or many of them."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc=name, unit=unit, leave=False) as bar:

        def show(done: int, total: int) -> None:
            if bar.total is None:
                # What was done before, so that the time left is that of what is not.
                bar.initial = bar.n = bar.last_print_n = done
            bar.total = total
            bar.update(done - bar.n)

        yield show
