"""What every view has to show for a selection, worked out with plain numpy from the planted weights."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atlas.ids import HeadId
from atlas.plots.colours import LEVELS, raster_palette, sequential
from atlas.state.heads import HeadsLens
from tests.printed import number
from tests.ui.planted import HEADS, LAYERS, PREVIOUS, TEXT, weights
from tests.ui.stage import Seat

WORDS = TEXT.split(" ")
TOKENS = ["[CLS]", *WORDS, "[SEP]"]
N = len(TOKENS)
W = weights(N)
"""(layer, head, query, key): what is planted."""

TOP = W.max()
"""Where the colours of single heads end."""

EVERY = [HeadId("encoder", layer, head) for layer in range(LAYERS) for head in range(HEADS)]

GAP = 1 / (2 * N + 2)
"""Share of a head's square on the Map that is left free on each side: one cell of a thumbnail of which every token has two."""

Tokens = Collection[int]


FIRST = HeadId("encoder", 0, 0)


@dataclass(frozen=True)
class Wanted:
    """A selection, and the head shown large."""

    heads: frozenset[HeadId] = frozenset()
    queries: frozenset[int] = frozenset()
    keys: frozenset[int] = frozenset()
    focus: HeadId = FIRST

    def matrix(self) -> np.ndarray:
        """(query, key) the mean over the selected heads, else the one in focus."""
        return np.mean([W[head.layer, head.head] for head in self.heads or {self.focus}], axis=0)

    def received(self) -> np.ndarray:
        """(key,) what each token gets from the selected ones that look, or from all."""
        return self.matrix()[sorted(self.queries) or slice(None)].mean(axis=0)

    def metrics(self) -> dict[str, np.ndarray]:
        """(layer * head,) numbers of every head in the selected rows."""
        rows = np.array(sorted(self.queries) or range(N))
        later = rows[rows > 0]
        found = {
            "previous": W[:, :, later, later - 1].mean(axis=-1).ravel(),
            "self": W[:, :, rows, rows].mean(axis=-1).ravel(),
        }
        if self.keys:
            found["selected"] = W[:, :, rows][..., sorted(self.keys)].sum(axis=-1).mean(axis=-1).ravel()
        return found


def level(values: Any, top: float) -> np.ndarray:
    """Colours of values on a linear scale."""
    return np.clip(np.floor(np.asarray(values) / top * (LEVELS - 1)), 0, LEVELS - 1).astype(int)


def rgb(colour: str) -> tuple[int, int, int]:
    """'#rrggbb' as three numbers."""
    return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))


def cell_of_map(head: HeadId, query: int, key: int, n_queries: int = N, n_keys: int = N) -> tuple[float, float]:
    """The middle of a cell of a head on the Map's plane of side 1."""
    inside = [GAP + (at + 0.5) / count * (1 - 2 * GAP) for at, count in ((key, n_keys), (query, n_queries))]
    return (head.head + inside[0]) / HEADS, (head.layer + inside[1]) / LAYERS


def cell_of_matrix(query: int, key: int) -> tuple[float, float]:
    """The middle of a cell of the matrix on its plane of side 1."""
    return (key + 0.5) / N, (query + 0.5) / N


# -- what is on the page -----------------------------------------------------------------------------------------------


def levels(seat: Seat, name: str, places: Sequence[tuple[float, float]]) -> np.ndarray:
    """The bytes of a raster at points of its plane, all from one look at it."""
    found = seat.plot(name).raster()
    data = found["bytes"]
    across = [int((x - found["x"]) / found["dw"] * data.shape[1]) for x, _ in places]
    down = [int((y - found["y"]) / found["dh"] * data.shape[0]) for _, y in places]
    return data[down, across].astype(int)


def whole_matrix(seat: Seat) -> np.ndarray:
    """(query, key) the bytes in the middle of every cell of the matrix."""
    places = [cell_of_matrix(query, key) for query in range(N) for key in range(N)]
    return levels(seat, ".aa-matrix", places).reshape(N, N)


def whole_head(seat: Seat, head: HeadId) -> np.ndarray:
    """(query, key) the bytes in the middle of every cell of a head on the Map."""
    places = [cell_of_map(head, query, key) for query in range(N) for key in range(N)]
    return levels(seat, ".aa-map", places).reshape(N, N)


def frames(seat: Seat, index: int, layers: int = LAYERS) -> set[tuple[int, int]]:
    """(layer, column) of the squares of the Map that have a frame: 0 the selected heads', 1 that of the head shown large."""
    found = seat.plot(".aa-map").columns("Quad", index)
    tops = np.minimum(found["bottom"], found["top"])
    return {(round(top * layers), round(left * HEADS)) for left, top in zip(found["left"], tops, strict=True)}


def marked(seat: Seat, name: str) -> set[int]:
    """Positions of the tokens of the text that carry a mark."""
    classes = seat.page.locator(".aa-strip-source .token").evaluate_all("all => all.map(each => [...each.classList])")
    return {at for at, names in enumerate(classes) if name in names}


def painted(seat: Seat) -> list[tuple[int, ...]]:
    """The background of every token of the text."""
    look = "all => all.map(each => getComputedStyle(each).backgroundColor.match(/\\d+/g).map(Number))"
    return [tuple(colour[:3]) for colour in seat.page.locator(".aa-strip-source .token").evaluate_all(look)]


def bands(seat: Seat) -> tuple[set[int], set[int]]:
    """(rows, columns) of the matrix that have a frame; neighbours share one."""
    across, down = (seat.plot(".aa-matrix").columns("Quad", index) for index in (0, 1))
    rows, columns = (
        {
            at
            for low, high in zip(found[first], found[last], strict=True)
            for at in range(*sorted((round(low * N), round(high * N))))
        }
        for found, first, last in ((across, "bottom", "top"), (down, "left", "right"))
    )
    wide = [right - left for left, right in zip(across["left"], across["right"], strict=True)]
    high = [abs(top - bottom) for bottom, top in zip(down["bottom"], down["top"], strict=True)]
    assert all(side > 0.999 for side in wide + high), "a band goes from edge to edge"
    return rows, columns


def table(seat: Seat) -> list[dict[str, str]]:
    """The rows on the page of the table: title -> what is written, and whether it is selected."""
    found: list[dict[str, str]] = seat.page.locator(".aa-table .tabulator-row").evaluate_all(
        """rows => rows.map(row => ({
          ...Object.fromEntries([...row.querySelectorAll('.tabulator-cell[tabulator-field]')]
            .map(cell => [cell.getAttribute('tabulator-field'), cell.textContent.trim()])),
          selected: row.classList.contains('tabulator-selected') ? 'yes' : 'no'}))"""
    )
    return [row for row in found if "Head" in row]  # a row that is being drawn has no cells yet


def pressed(seat: Seat, name: str) -> set[str]:
    """The chips of a row of them that are pressed."""
    chosen = seat.page.locator(f'{name} .chip[aria-pressed="true"]')
    return set(chosen.evaluate_all("all => all.map(each => each.dataset.key)"))


def chips_of(seat: Seat, heads: Collection[HeadId]) -> set[str]:
    """Groups that are exactly these heads."""
    groups = {f"layer:{at}": {head for head in EVERY if head.layer == at} for at in range(LAYERS)}
    table = seat.app.workspace.lens(HeadsLens).table()
    for column in ("cluster", "role"):
        names = list(table[column])
        groups |= {f"{column}:{name}": {head for head, own in zip(EVERY, names, strict=True) if own == name} for name in names}
    return {key for key, members in groups.items() if members == set(heads)}


# -- view by view ------------------------------------------------------------------------------------------------------


def map_frames(seat: Seat, wanted: Wanted) -> None:
    """The selected heads and the one shown large have frames."""
    assert frames(seat, 0) == {(head.layer, head.head) for head in wanted.heads}
    assert frames(seat, 1) == {(wanted.focus.layer, wanted.focus.head)}


def map_raster(seat: Seat, wanted: Wanted) -> None:
    """The attention of every head in its place; with tokens selected one number a head."""
    if wanted.queries or wanted.keys:
        values = wanted.metrics().get("selected")
        if values is None:
            return  # no key is selected: another metric, which tests without a browser know
        places = [((head.head + 0.5) / HEADS, (head.layer + 0.5) / LAYERS) for head in EVERY]
        top = max(values.max(), len(wanted.keys) / N)
        assert np.abs(levels(seat, ".aa-map", places) - level(values, top)).max() <= 1
        return
    for head in (HeadId("encoder", 0, 0), PREVIOUS, HeadId("encoder", 3, 3)):
        assert np.abs(whole_head(seat, head) - level(W[head.layer, head.head], TOP)).max() <= 1


def matrix_raster(seat: Seat, wanted: Wanted) -> None:
    """The mean over the selected heads, and how many they are."""
    values = wanted.matrix()
    top = values.max() if len(wanted.heads) > 1 else TOP
    assert np.abs(whole_matrix(seat) - level(values, top)).max() <= 1
    count = len(wanted.heads)
    line = seat.text(".aa-card-matrix .line").lower()
    (first,) = wanted.heads if count == 1 else (wanted.focus,)
    assert line.startswith(f"mean of {count} heads" if count > 1 else str(first).lower()), line


def matrix_bands(seat: Seat, wanted: Wanted) -> None:
    """The selected rows and columns have frames."""
    assert bands(seat) == (set(wanted.queries), set(wanted.keys))


def strip_paint(seat: Seat, wanted: Wanted) -> None:
    """Every token painted by the attention it receives."""
    values, palette = wanted.received(), sequential(dark=False)
    steps = np.round(np.minimum(values / values.max(), 1).round(3) * (len(palette) - 1)).astype(int)
    found = painted(seat)
    for at, step in enumerate(steps):
        near = {rgb(palette[min(max(step + off, 0), len(palette) - 1)]) for off in (-1, 0, 1)}
        assert found[at] in near, f"token {at}"


def strip_marks(seat: Seat, wanted: Wanted) -> None:
    """Bars above the tokens that look and below those that are looked at."""
    assert (marked(seat, "from"), marked(seat, "to")) == (set(wanted.queries), set(wanted.keys))


def scatter_selected(seat: Seat, wanted: Wanted) -> None:
    """The selected heads stand out, the one shown large has an edge."""
    plot = seat.plot(".aa-heads-plot")
    assert {EVERY[row] for row in plot.chosen("Scatter")} == set(wanted.heads)
    widths = plot.columns("Scatter")["line_width"]
    assert EVERY[int(np.argmax(widths))] == wanted.focus


def scatter_places(seat: Seat, wanted: Wanted) -> None:
    """Where two metrics of the selected rows put every head."""
    found = seat.plot(".aa-heads-plot").columns("Scatter")
    np.testing.assert_allclose(found["at_x"], wanted.metrics()["previous"], atol=1e-6)
    np.testing.assert_allclose(found["at_y"], wanted.metrics()["self"], atol=1e-6)


def group_chips(seat: Seat, wanted: Wanted) -> None:
    """The groups that are what is selected are pressed."""
    assert pressed(seat, ".aa-groups") == chips_of(seat, wanted.heads)


def table_rows(seat: Seat, wanted: Wanted) -> None:
    """The selected heads on the page of the table are ticked, and some of them are on it."""
    rows = table(seat)
    ticked = {row["Head"] for row in rows if row["selected"] == "yes"}
    assert ticked == {str(head) for head in wanted.heads} & {row["Head"] for row in rows}
    assert bool(ticked) == bool(wanted.heads)


def table_numbers(seat: Seat, wanted: Wanted) -> None:
    """Every number is that of the selected rows."""
    titles = {"previous": "Previous token", "self": "Self", "selected": "Weight on selected keys"}
    rows, at = table(seat), {str(head): place for place, head in enumerate(EVERY)}
    for name, values in wanted.metrics().items():
        written = [number(row[titles[name]]) for row in rows]
        np.testing.assert_allclose(written, [values[at[row["Head"]]] for row in rows], atol=6e-4, err_msg=name)


def profile_selected(seat: Seat, wanted: Wanted) -> None:
    """The marks of the selected heads stand out."""
    assert {EVERY[row] for row in seat.plot(".aa-profile").chosen("Scatter", 0)} == set(wanted.heads)


def profile_mean(seat: Seat, wanted: Wanted) -> None:
    """The line is the mean of every layer in the selected rows."""
    values = wanted.metrics()["previous"].reshape(LAYERS, HEADS)
    np.testing.assert_allclose(seat.plot(".aa-profile").columns("Line", 1)["mean"], values.mean(axis=1), atol=1e-6)


def bar_words(seat: Seat, wanted: Wanted) -> None:
    """The bar says what is selected, and nothing of what is not."""
    for part, chosen in (("heads", wanted.heads), ("tokens", wanted.queries or wanted.keys)):
        assert seat.page.locator(f".aa-clear-{part}").is_visible() == bool(chosen), part
    assert seat.page.locator(".aa-nothing").is_visible() == (not (wanted.heads or wanted.queries or wanted.keys))
    if len(wanted.heads) == 1:
        assert str(next(iter(wanted.heads))) in seat.text(".aa-clear-heads button")
    elif wanted.heads:
        assert str(len(wanted.heads)) in seat.text(".aa-clear-heads button") or len(wanted.heads) <= 4
    if wanted.queries or wanted.keys:
        said = seat.text(".aa-clear-tokens button")
        named = [TOKENS[at] for at in sorted(wanted.queries)[:4] + sorted(wanted.keys)[:4]]
        assert all(name in said for name in named), said


def token_chips(seat: Seat, wanted: Wanted) -> None:
    """A chip is pressed where all of its tokens are selected."""
    held = set(wanted.queries | wanted.keys)
    rows = seat.app.trace.reading().table
    groups: dict[str, set[int]] = {}
    for at, row in enumerate(rows.to_dict(orient="records")):
        if not row["special"]:
            groups.setdefault(f"pos:{row['pos']}", set()).add(at)
            groups.setdefault(f"sentence:{row['sentence']}", set()).add(at)
    assert pressed(seat, ".aa-chips-source") == {key for key, members in groups.items() if held and members <= held}


def read_out(seat: Seat, wanted: Wanted) -> None:
    """Who cannot see the page hears what is selected."""
    said = seat.page.locator(".announcer .live").first.text_content() or ""
    assert bool(wanted.heads or wanted.queries or wanted.keys) == ("Nothing is selected" not in said), said
    for at in sorted(wanted.queries | wanted.keys)[:4]:
        assert TOKENS[at] in said


VIEWS: dict[str, Callable[[Seat, Wanted], None]] = {
    check.__name__: check
    for check in (
        map_frames, map_raster, matrix_raster, matrix_bands, strip_paint, strip_marks, scatter_selected, scatter_places,
        group_chips, table_rows, table_numbers, profile_selected, profile_mean, bar_words, token_chips, read_out,
    )
}  # fmt: skip
"""Every view and what it has to show."""


def metrics_on_axes(seat: Seat) -> None:
    """Let scatter and profile show metrics that plain numpy knows."""
    seat.do(lambda: seat.display.param.update(layout="metrics", x="previous", y="self", metric="previous"))


def assert_shown(seat: Seat, wanted: Wanted) -> None:
    """All views show a selection; says of each that does not what it shows."""
    wrong = {}
    for name, check in VIEWS.items():
        try:
            seat.until(lambda check=check: check(seat, wanted))
        except (AssertionError, ValueError, TimeoutError) as error:
            wrong[name] = f"{error.__cause__ or error}"
    assert not wrong, "\n".join(f"{name}: {said}" for name, said in wrong.items())


PALETTE = [rgb(colour) for colour in raster_palette(dark=False)]
