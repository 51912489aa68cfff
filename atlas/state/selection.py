"""Selection: what is selected, in one place. Every view reads it; its methods are the only writers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import param

from atlas.errors import UnknownName
from atlas.ids import WORD_MARKS, HeadId

if TYPE_CHECKING:
    from atlas.trace import Trace

Axis = Literal["both", "from", "to"]
AXES: tuple[Axis, ...] = ("both", "from", "to")
"""'from' selects queries (who looks), 'to' selects keys (who is looked at)."""

AXIS_OF = {"queries": "query", "keys": "key"}
"""Which axis of a matrix the positions in a field are on."""

PARTS = ("heads", "tokens", "queries", "keys")
"""What can be cleared by itself."""

Heads = frozenset[HeadId]
Tokens = frozenset[int]
NO_HEADS: Heads = frozenset()
NO_TOKENS: Tokens = frozenset()


class Selection(param.Parameterized):
    """Which head is shown large, which heads and tokens are selected. Empty means all.

    Every change is one atomic update, so that a view that reads two fields never sees one old and one new. The Params are
    constant to everybody else: a set changed in place would fire nothing, and a second writer would be a second truth.
    """

    focus = param.ClassSelector(
        class_=HeadId, default=None, constant=True, doc="The head shown large; its kind is the kind of attention on screen."
    )
    heads = param.ClassSelector(class_=frozenset, default=NO_HEADS, constant=True, doc="Selected heads; empty: all.")
    queries = param.ClassSelector(
        class_=frozenset, default=NO_TOKENS, constant=True, doc="Selected positions that look; empty: all."
    )
    keys = param.ClassSelector(
        class_=frozenset, default=NO_TOKENS, constant=True, doc="Selected positions that are looked at; empty: all."
    )
    origin = param.String(default="", constant=True, doc="Which view made the last change, so that it can ignore its echo.")
    label = param.String(
        default="", constant=True, doc="What the selected heads were chosen as, such as \"cluster 'previous token'\"."
    )

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._shapes: dict[str, tuple[int, int]] = {}
        self._sides: dict[tuple[str, str], str] = {}
        self._tokens: dict[str, tuple[str, ...]] = {}

    # -- what it says --------------------------------------------------------------------------------------------------

    @property
    def kind(self) -> str | None:
        """The kind of attention on screen."""
        return self.focus.kind if self.focus is not None else None

    def heads_of(self, kind: str) -> tuple[HeadId, ...]:
        """The selected heads of a kind, in order; none where none is selected, which means all."""
        return tuple(sorted((head for head in self.heads if head.kind == kind), key=lambda head: (head.layer, head.head)))

    def side(self, axis: str, kind: str | None = None) -> str:
        """Whose tokens 'query' or 'key' are in a kind of attention: those of the source or of the target."""
        return self._sides.get((kind or self.kind or "", axis), "source")

    @property
    def is_empty(self) -> bool:
        """Whether nothing is selected (there is always a focus once there is a trace)."""
        return not (self.heads or self.queries or self.keys)

    # -- heads ---------------------------------------------------------------------------------------------------------

    def select_heads(self, heads: Iterable[HeadId], *, origin: str = "", label: str = "") -> None:
        """Select exactly these heads; the focus moves to the first of them unless it is among them."""
        chosen = frozenset(self._existing(heads))
        focus = self.focus
        if chosen and focus not in chosen:
            alike = sorted(head for head in chosen if focus is not None and head.kind == focus.kind)
            focus = alike[0] if alike else min(chosen)
        self._write(heads=chosen, label=label if chosen else "", origin=origin, **self._focused(focus))

    def toggle_heads(self, heads: Iterable[HeadId], *, origin: str = "") -> None:
        """Select the given heads that are not selected, deselect those that are."""
        self.select_heads(self.heads ^ frozenset(heads), origin=origin)

    def pick(self, head: HeadId, *, origin: str = "") -> None:
        """A tap on a head: it is shown large and it alone is selected; tapped again, nothing is selected."""
        again = self.heads == {head} and self.focus == head
        self.select_heads(() if again else (head,), origin=origin)

    def focus_on(self, head: HeadId, *, origin: str = "") -> None:
        """Show a head large, whatever is selected; where the one shown so far was all that was selected, it now is this one.

        Left behind, it would stay what every view is about, and sliders and arrow keys would move nothing but a frame.
        """
        (found,) = self._existing((head,)) or (self.focus,)
        changes = self._focused(found)
        before = self.focus
        moved = found is not None and before is not None and found != before and found.kind == before.kind
        if moved and self.heads == {before}:
            changes |= {"heads": frozenset({found}), "label": ""}
        self._write(origin=origin, **changes)

    def show_kind(self, kind: str, *, origin: str = "") -> None:
        """Show another kind of attention: the same layer and head where it has them."""
        if kind not in self._shapes:
            msg = f"This trace has no {kind!r} attention; it has {', '.join(self._shapes) or 'none yet: run a text first'}."
            raise UnknownName(msg)
        layers, heads = self._shapes[kind]
        at = self.focus or HeadId(kind, 0, 0)
        self.focus_on(HeadId(kind, min(at.layer, layers - 1), min(at.head, heads - 1)), origin=origin)

    def step(self, layers: int, heads: int, *, origin: str = "") -> None:
        """Move the focus by so many layers and heads, as arrow keys do; it stops at the edges."""
        # Before the first trace the focus may come from a URL, and the number of layers and heads is not known yet.
        if self.focus is None or self.focus.kind not in self._shapes:
            return
        n_layers, n_heads = self._shapes[self.focus.kind]
        layer = min(max(self.focus.layer + layers, 0), n_layers - 1)
        head = min(max(self.focus.head + heads, 0), n_heads - 1)
        self.focus_on(HeadId(self.focus.kind, layer, head), origin=origin)

    # -- tokens --------------------------------------------------------------------------------------------------------

    def select_tokens(self, positions: Iterable[int], *, axis: Axis = "both", side: str | None = None, origin: str = "") -> None:
        """Select exactly these positions on one axis or both; `side` says whose tokens they are (None: of every axis asked for).

        In cross attention the queries are the target's tokens and the keys the source's, so a source token is only ever a key.
        """
        chosen = frozenset(int(position) for position in positions)
        self._write(origin=origin, **{name: self._within(chosen, name) for name in self._axes(axis, side)})

    def toggle_tokens(self, positions: Iterable[int], *, axis: Axis = "both", side: str | None = None, origin: str = "") -> None:
        """Select the given positions that are not selected, deselect those that are."""
        given = frozenset(int(position) for position in positions)
        names = self._axes(axis, side)
        # Toggle each axis by itself, so that a token selected as 'from' alone does not become 'to' as well.
        there = all(given <= getattr(self, name) for name in names)
        changes = {name: getattr(self, name) - given if there else getattr(self, name) | given for name in names}
        self._write(origin=origin, **{name: self._within(chosen, name) for name, chosen in changes.items()})

    def select_pairs(self, queries: Iterable[int], keys: Iterable[int], *, origin: str = "") -> None:
        """Select queries and keys separately, as a click on a cell or on a pair of sentences does."""
        self._write(
            queries=self._within(frozenset(int(q) for q in queries), "queries"),
            keys=self._within(frozenset(int(k) for k in keys), "keys"),
            origin=origin,
        )

    # -- all of it -----------------------------------------------------------------------------------------------------

    def clear(self, part: str | None = None, *, origin: str = "") -> None:
        """Clear 'heads', 'tokens', 'queries', 'keys', or everything."""
        if part is not None and part not in PARTS:
            msg = f"{part!r} cannot be cleared; one of {', '.join(PARTS)} can, or everything."
            raise UnknownName(msg)
        changes: dict[str, Any] = {}
        if part in (None, "heads"):
            changes |= {"heads": NO_HEADS, "label": ""}
        if part in (None, "tokens", "queries"):
            changes["queries"] = NO_TOKENS
        if part in (None, "tokens", "keys"):
            changes["keys"] = NO_TOKENS
        self._write(origin=origin, **changes)

    def restore(
        self, focus: HeadId | None, heads: Iterable[HeadId], queries: Iterable[int], keys: Iterable[int], label: str
    ) -> None:
        """All of it at once, as a URL says it; what does not exist here is left out."""
        wanted = frozenset(heads)
        chosen = frozenset(self._existing(wanted))
        found = self._existing((focus,)) if focus is not None else ()
        at = found[0] if found else self.focus
        rows, columns = self._within(frozenset(queries), "queries", at), self._within(frozenset(keys), "keys", at)
        said = label if chosen and chosen == wanted else ""
        self._write(focus=at, heads=chosen, label=said, queries=rows, keys=columns, origin="url")

    def clip_to(self, trace: Trace) -> None:
        """Keep of the selection what exists in a trace, and learn its heads and tokens.

        A position is kept where the same token stands: to say of 'baker' what is true of another word is worse than to forget it.
        What the heads were chosen as was true of the text before.
        """
        before = {name: self.side(axis) for name, axis in AXIS_OF.items()} if self._sides else {}
        known = self._tokens
        self._shapes = {kind: (trace.n_layers(kind), trace.n_heads(kind)) for kind in trace.kinds}
        self._tokens = {
            side: tuple(str(token).lstrip(WORD_MARKS) for token in table["token"]) for side, table in trace.token_tables.items()
        }
        self._sides = {(kind, axis): trace.side(kind, axis) for kind in trace.kinds for axis in ("query", "key")}
        heads = frozenset(self._existing(self.heads))
        there = self._existing((self.focus,)) if self.focus is not None else ()
        focus = there[0] if there else self._first(trace)
        same = heads == self.heads and known in ({}, self._tokens)
        changes = {"focus": focus, "heads": heads, "label": self.label if same else ""}
        for name, axis in AXIS_OF.items():
            side = self.side(axis, focus.kind)
            # A position among the decoder's tokens is not the same position of the text.
            moved = before.get(name, side) != side
            held = NO_TOKENS if moved else self._within(getattr(self, name), name, focus)
            then, now = known.get(side), self._tokens.get(side, ())
            changes[name] = held if then is None else frozenset(at for at in held if at < len(then) and then[at] == now[at])
        self._write(**changes, origin="trace")

    # -- inside --------------------------------------------------------------------------------------------------------

    @staticmethod
    def _first(trace: Trace) -> HeadId:
        return HeadId(trace.kinds[0], 0, 0)

    def _existing(self, heads: Iterable[HeadId]) -> tuple[HeadId, ...]:
        if not self._shapes:
            return tuple(heads)
        return tuple(
            head
            for head in heads
            if head.kind in self._shapes and head.layer < self._shapes[head.kind][0] and head.head < self._shapes[head.kind][1]
        )

    def _focused(self, focus: HeadId | None) -> dict[str, Any]:
        """A new focus and, where its kind has other tokens on an axis, an end of what was selected there."""
        changes: dict[str, Any] = {"focus": focus}
        old = self.focus
        if focus is not None and old is not None and focus.kind != old.kind:
            for name, axis in AXIS_OF.items():
                if self.side(axis, focus.kind) != self.side(axis, old.kind):
                    changes[name] = NO_TOKENS
        return changes

    def _axes(self, axis: Axis, side: str | None) -> tuple[str, ...]:
        if axis not in AXES:
            msg = f"{axis!r} is no way to select tokens; use one of {', '.join(AXES)}."
            raise UnknownName(msg)
        wanted = {"both": ("queries", "keys"), "from": ("queries",), "to": ("keys",)}[axis]
        sides = {"queries": self.side("query"), "keys": self.side("key")}
        fitting = tuple(name for name in wanted if side is None or sides[name] == side)
        # A source token in cross attention can only be looked at, whatever the switch says.
        return fitting or tuple(name for name in sides if sides[name] == side)

    def _within(self, positions: Tokens, name: str, focus: HeadId | None = None) -> Tokens:
        kind = focus.kind if focus is not None else self.kind
        tokens = self._tokens.get(self.side(AXIS_OF[name], kind))
        return positions if tokens is None else frozenset(p for p in positions if 0 <= p < len(tokens))

    def _write(self, **changes: Any) -> None:
        # Param cannot compare sets or heads, so it would notify every watcher of a gesture that changed nothing.
        changed = {name: value for name, value in changes.items() if value != getattr(self, name)}
        if not changed.keys() - {"origin"}:
            return
        # The Params are constant again before any watcher runs, because a watcher must not write either.
        with param.parameterized.batch_call_watchers(self), param.edit_constant(self):
            self.param.update(**changed)
