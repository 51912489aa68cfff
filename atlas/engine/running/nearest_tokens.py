"""The tokens of the vocabulary nearest to embeddings, found in the model's own table, batch of rows by batch of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atlas.engine.running.capture import Rerun, token_names
from atlas.engine.running.recorder import to_numpy
from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.trace import NO_MODEL
from atlas.tracing.embeddings import CAPTURED, NEAREST, NEAREST_TOKENS, NEAREST_WORK, TOKEN, NearestTokens, embeddings

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.trace import Trace

BATCH_BYTES = 64 << 20
"""Rows of the table in single precision at a time; a table of 256,000 rows of 3,072 numbers would take 3 GB as a whole."""

ALIKE = 0.999
"""Cosine of a token's vector to its row of the table above which the vectors come from that table."""


def nearest_tokens(
    trace: Trace,
    stream: str,
    part: str,
    positions: Sequence[int] = (),
    report: Callable[[int, int], None] | None = None,
) -> NearestTokens:
    """The nearest tokens of a vector of `PARTS` of some tokens of a stream (none given: of all).

    `report` is called with the number of rows of the table read so far and the number of all rows.
    """
    live = trace.live
    if not isinstance(live, Rerun):
        raise NotCaptured(NO_MODEL)
    parts = embeddings(trace, stream)
    if part not in parts:
        msg = f"There is no vector {part!r} of the {stream}; there are {', '.join(parts)}."
        raise UnknownName(msg)
    n = len(parts[part])
    here = tuple(positions) or tuple(range(n))
    wrong = [at for at in here if not 0 <= at < n]
    if wrong:
        msg = f"There is no position {wrong[0]}: this text has {n}, counted from 0."
        raise UnknownName(msg)
    live.check_weights()
    ids = trace.token_tables[trace.side(stream, "query")]["id"].to_numpy()
    table = _table(live.model, stream, parts[TOKEN], ids)
    vectors = parts[part][list(here)]
    if vectors.shape[1] != table.shape[1]:
        msg = (
            f"{part!r} has {vectors.shape[1]:,} numbers and the rows of the table {table.shape[1]:,}: a linear map is between "
            "them, so the one cannot be compared with the other."
        )
        raise NotCaptured(msg)
    if len(here) * table.numel() > NEAREST_WORK:
        most = max(1, NEAREST_WORK // table.numel())
        msg = (
            f"{len(here):,} tokens against {table.shape[0]:,} rows of {table.shape[1]:,} numbers are "
            f"{len(here) * table.numel() / 1e9:,.0f} billion multiplications, and {NEAREST_WORK / 1e9:,.0f} billion are the "
            f"most. Select up to {most:,} tokens."
        )
        raise TooLarge(msg)
    found = _search(table, torch.tensor(vectors), torch.tensor(ids[list(here)]), report)
    near, cosines, own, rank = (to_numpy(part) for part in found)
    names = np.where(np.isfinite(cosines), token_names(live.model.tokenizer, near), "")
    return NearestTokens(part, here, table.shape[0], near, names, cosines, own, rank)


def _table(model: Model, stream: str, tokens: np.ndarray, ids: np.ndarray) -> torch.Tensor:
    """The table of tokens: row i is the vector of token i, perhaps scaled."""
    tap = model.places_of(CAPTURED[TOKEN]).get(stream)
    weight = None if tap is None else getattr(model.hf.get_submodule(tap.module), "weight", None)
    if isinstance(weight, torch.Tensor) and weight.dim() == 2 and weight.shape[1] == tokens.shape[1] and ids.max() < len(weight):
        rows, vectors = weight.detach()[torch.tensor(ids)].float().cpu(), torch.tensor(tokens).float()
        empty = ~rows.any(-1)
        if bool(((torch.cosine_similarity(rows, vectors) >= ALIKE) | empty).all()):
            return weight.detach()
    msg = f"The vectors of the {stream}'s tokens are no rows of one table, so there is nothing to compare them with."
    raise NotCaptured(msg)


def _search(
    table: torch.Tensor, vectors: torch.Tensor, ids: torch.Tensor, report: Callable[[int, int], None] | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Nearest rows and their cosines, cosine to the own row and its rank, each by vector."""
    directions = _unit(vectors.to(table.device, torch.float32))
    ids = ids.to(table.device)
    own = (directions * _unit(table[ids].float())).sum(-1)
    rank = torch.ones_like(ids)
    best = torch.full((len(ids), 0), 0.0, device=table.device)
    near = torch.full((len(ids), 0), 0, dtype=torch.int64, device=table.device)
    step = max(1, BATCH_BYTES // (4 * table.shape[1]))
    for start in range(0, table.shape[0], step):
        if report is not None:
            report(start, table.shape[0])
        cosines = directions @ _unit(table[start : start + step].float()).T
        rows = torch.arange(start, start + cosines.shape[1], device=table.device)
        # The token itself has a rank of its own; a row of zeros has no direction and is near to nothing.
        cosines = cosines.masked_fill(rows[None] == ids[:, None], -torch.inf).nan_to_num(nan=-torch.inf)
        rank += (cosines > own[:, None]).sum(-1)
        best, near = torch.cat([best, cosines], 1), torch.cat([near, rows.expand(len(ids), -1)], 1)
        best, order = best.topk(min(NEAREST, best.shape[1]), dim=-1)
        near = near.gather(1, order)
    return near, best.masked_fill(torch.isinf(best), torch.nan), own, rank


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    """Each vector with length 1; NaN where it has none."""
    return vectors / vectors.norm(dim=-1, keepdim=True)


TASKS: Mapping[str, Callable[..., Any]] = {NEAREST_TOKENS: nearest_tokens}
"""Work with the model that views may request, by name."""
