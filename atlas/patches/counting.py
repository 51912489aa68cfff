"""Bokeh (3.9) counts the models of a page after every change that is made in one go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bokeh.document import Document


@contextmanager
def counted_at_most_once(document: Document) -> Iterator[None]:
    """Count the models at the end, and only if one came or went.

    To count 430 of them takes 35 milliseconds. Bokeh's own `freeze` counts at its end in any case, and Panel freezes inside of
    this. Only public methods of the document's models are replaced, and only while the block runs.
    """
    models = document.models
    wanted: list[bool] = []
    outside = models.invalidate, models.recompute
    models.invalidate = lambda: wanted.append(True)  # type: ignore[method-assign]
    models.recompute = lambda: None  # type: ignore[method-assign]
    frozen = models.freeze()
    frozen.__enter__()
    try:
        yield
    finally:
        # Not by `with`: after an error inside, Bokeh's `freeze` would leave the models frozen for good.
        frozen.__exit__(None, None, None)
        models.invalidate, models.recompute = outside  # type: ignore[method-assign]
        if wanted:
            models.invalidate()
