"""Collects the places where parts were seen. A name that is missing in a layer of its stream is dropped, with the reason."""

from __future__ import annotations

from dataclasses import dataclass, field

from atlas.engine.anatomy.layers import Layer
from atlas.engine.anatomy.probe_recording import Recording, Seen
from atlas.engine.anatomy.records import Anatomy, Tap
from atlas.ids import stream_of

ONCE = ("token_embedding", "position", "segment", "embedding_sum", "embedding", "final_norm_in", "final_norm_out")
"""Names that exist once in a stream, as layer 0."""


@dataclass(slots=True)
class Captures:
    """Collects the taps of an anatomy."""

    anatomy: Anatomy
    recording: Recording
    found: dict[tuple[str, str], dict[int, Tap]] = field(default_factory=dict)

    def put(
        self,
        name: str,
        layer: Layer,
        seen: Seen,
        *,
        kind: str = "",
        index: int | None = None,
        factor: float = 1.0,
        columns: tuple[int, int] | None = None,
    ) -> None:
        """Record where a part of a layer was seen. `kind` and `index` are the layer's own unless given."""
        event = seen.event
        place = kind or layer.kind, name
        number = layer.index if index is None else index
        self.found.setdefault(place, {})[number] = Tap(
            name=name,
            kind=place[0],
            layer=number,
            module=event.name,
            place=seen.place,
            use=event.use,
            uses=self.recording.uses[event.name],
            factor=factor,
            columns=columns,
            layout=_layout(seen, layer),
            clone=seen.overwritten,
        )
        width = seen.value.shape[-1] if columns is None else columns[1] - columns[0]
        self.anatomy.tap_widths[place] = int(width)

    def lack(self, kind: str, name: str, reason: str) -> None:
        """Record why a part is missing; the first reason is kept."""
        self.anatomy.missing.setdefault((kind, name), reason)

    def finish(self) -> None:
        """Put the taps that were found in all layers of their stream into the anatomy."""
        for (kind, name), taps in self.found.items():
            layers = self.anatomy.streams[stream_of(kind)]
            wanted = (
                set(range(layers + 1))
                if name == "hidden"
                else {0}
                if name in ONCE or name.startswith("embedding")
                else set(range(layers))
            )
            if lacking := sorted(wanted - set(taps)):
                reason = self.anatomy.missing.pop((kind, name), "it was not found there")
                where = f"layer {lacking[0]}" if len(lacking) == 1 else f"{len(lacking)} layers, the first of them {lacking[0]}"
                self.anatomy.missing[kind, name] = f"not in every layer: in {where}: {reason}"
                self.anatomy.tap_widths.pop((kind, name), None)
                continue
            self.anatomy.missing.pop((kind, name), None)
            self.anatomy.taps += [taps[number] for number in sorted(taps)]


def _layout(seen: Seen, layer: Layer) -> str:
    """The layout of batch and positions in a tensor (see `Tap.layout`)."""
    batch, positions = layer.leaving.value.shape[:2]
    shape = seen.value.shape
    if len(shape) == 3 and shape[0] == batch:
        return "plain"
    return "flat" if seen.rows.shape[0] == batch * positions else "shared"
