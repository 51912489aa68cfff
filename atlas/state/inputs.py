"""What is read, and by which model: the two questions a run answers."""

from __future__ import annotations

from typing import Any, NamedTuple

import param

from atlas.tracing.spans import Span

LONGEST_TEXT = 200_000
"""Letters of a text that a page or a link gives: more than any model of the catalog reads, and a paste that large still answers
at once."""


class SpansOf(NamedTuple):
    """Spans, and the texts they are of: of any other text they say nothing."""

    text: str
    target: str
    spans: tuple[Span, ...]


NO_SPANS = SpansOf("", "", ())


class InputModel(param.Parameterized):
    """The text, a second segment for models that take pairs, and what a decoder is to read."""

    text = param.String(default="", doc="The text.")
    pair = param.String(default="", doc="A second segment, for models that take pairs; empty: none.")
    target = param.String(default="", doc="What the decoder of an encoder-decoder reads; empty: what the model writes itself.")
    truncate = param.Boolean(default=False, doc="Cut a text that is too long instead of refusing it.")
    chat = param.Boolean(default=False, doc="The text is a conversation, which the model's chat template writes out.")
    spans = param.ClassSelector(class_=SpansOf, default=NO_SPANS, doc="What of the text was the prompt, and what was written.")

    def put(self, text: str, pair: str = "", target: str = "", spans: SpansOf = NO_SPANS) -> None:
        """Another text, which is no conversation."""
        self.param.update(text=text, pair=pair, target=target, spans=spans, chat=False)

    def known_spans(self) -> tuple[Span, ...]:
        """The spans of the texts as they are now; none of a text that was changed by hand."""
        known = (self.spans.text, self.spans.target) == (self.text, self.target) and not self.pair
        return self.spans.spans if known else ()

    def texts(self) -> tuple[str, str | None, str | None, bool]:
        """(text, pair, target, truncate) as a run takes them."""
        return self.text, self.pair or None, self.target or None, self.truncate


class ModelChoice(param.Parameterized):
    """Which model, at which revision, where and in which precision."""

    name_or_path = param.String(default="", doc="A name of the catalog, a folder, or a hub id.")
    revision = param.String(default="", doc="Branch, tag or commit on the hub; empty: the newest.")
    device = param.String(default="", doc="cpu, cuda, mps; empty: cuda where there is one, else cpu.")
    dtype = param.String(default="", doc="float32, bfloat16, float16; empty: float32.")
    in_memory = param.Boolean(default=False, doc="The model was handed over in memory: a URL can name it, but not bring it back.")

    def choose(self, name_or_path: str, *, in_memory: bool = False) -> None:
        """Another model, as it comes: what a link said of revision, device and precision it said of the model before."""
        self.param.update(name_or_path=name_or_path, revision="", device="", dtype="", in_memory=in_memory)

    def request(self) -> tuple[str, str | None, str | None, str | None]:
        """(name, revision, device, dtype) as the loader takes them."""
        return self.name_or_path, self.revision or None, self.device or None, self.dtype or None

    def settings(self) -> dict[str, Any]:
        """The choice as plain values, without what is at its default."""
        names = ("name_or_path", "revision", "device", "dtype")
        return {name: value for name in names if (value := getattr(self, name))}
