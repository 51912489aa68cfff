"""What work with a model takes, for admission: estimates from sizes; that of a text tokenizes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from atlas.admission import Cost
from atlas.engine.running import budget
from atlas.engine.running.budget import ModelSize
from atlas.engine.running.capture import Rerun
from atlas.engine.running.encode import tokenize, too_long
from atlas.engine.running.predict import ACTIVATIONS_ALIVE, BATCH_BYTES, SCORES_ALIVE, row_bytes
from atlas.engine.running.recorder import TextShape
from atlas.engine.running.targets import TARGET_TOKENS, generates
from atlas.errors import TextError, TextTooLong
from atlas.text.align import check_text
from atlas.tracing.explained import COST

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.trace import Trace


def graph_bytes(size: ModelSize, shape: TextShape) -> int:
    """Bytes of one text in a pass that keeps what its gradients need."""
    total = 4 * max(shape.n_source, shape.n_target) * size.n_outcomes
    for kind in size.kinds:
        queries, keys = shape.queries(kind.kind), shape.keys(kind.kind)
        scores = SCORES_ALIVE * kind.n_heads * queries * keys
        total += 4 * kind.n_layers * (scores + ACTIVATIONS_ALIVE * kind.n_heads * kind.width * queries)
    return total


def cost_of_passes(trace: Trace, passes: int, *, gradients: bool = False) -> Cost:
    """What so many passes of the text of a trace take, in batches of a bounded size; nothing is known of a recording."""
    live = trace.live
    if not isinstance(live, Rerun):
        return Cost()
    encoded = live.encoded
    one = row_bytes(live.model, encoded)
    if gradients:
        one = max(one, graph_bytes(live.model.size, TextShape(encoded.n_source, encoded.n_target)))
    return Cost(max(one, min(passes * one, BATCH_BYTES)), passes * (encoded.n_source + encoded.n_target))


def cost_of_text(model: Model, text: str, pair: str | None, target: str | None, *, truncate: bool, groups: Iterable[str]) -> Cost:
    """What the trace of a text takes: what is kept of it and the pass; nothing for a text that will not be run."""
    try:
        n_source = _tokens(model, text, pair, truncate=truncate)
        n_target = _tokens(model, target, None, truncate=truncate, target=True) if target else _generated(model, n_source)
    except (TextError, TextTooLong):
        return Cost()
    shape = TextShape(n_source, n_target)
    light = model.interface and budget.weights_bytes(model.size, shape) > budget.WEIGHTS_BYTES
    return Cost(sum(budget.estimate(model.size, shape, "qk" if light else "weights", groups).values()), n_source + n_target)


def _tokens(model: Model, text: str, pair: str | None, *, truncate: bool, target: bool = False) -> int:
    check_text(text)
    if pair is not None:
        check_text(pair)
    count = len(tokenize(model.tokenizer, text, pair, target=target)["input_ids"])
    if model.limit is None or count <= model.limit:
        return count
    if not truncate:
        raise TextTooLong(too_long(count, model.limit))
    return model.limit


def _generated(model: Model, n_source: int) -> int:
    """Tokens of a target at most where none is given."""
    if "cross" not in model.kinds:
        return 0
    return TARGET_TOKENS if generates(model) else n_source


TASKS: Mapping[str, Callable[..., Any]] = {COST: cost_of_passes}
"""What a Workspace asks for, by name."""
