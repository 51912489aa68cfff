"""A copy of a model whose weights are drawn anew part by part; the model itself is only read.

Every tensor keeps its own numbers in random places. So its distribution is exactly the trained one, whatever its shape, and
scales (LayerNorm's gains near 1, small biases) stay plausible; what is lost is all that training wrote into the arrangement.
"""

from __future__ import annotations

import copy
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from atlas.engine.model import Model
from atlas.engine.running.capture import stacked
from atlas.errors import NotCaptured, TooLarge
from atlas.ids import stream_of

if TYPE_CHECKING:
    from atlas.engine.running.encode import Encoded
    from atlas.engine.running.interventions import Intervention
    from atlas.trace import Trace

TWIN_BYTES = 2 << 30
"""Most bytes of a copy: half a billion weights in float32, so BERT-large and GPT-2-medium fit."""

PLACE_BYTES = 8
"""Bytes of one place of a permutation."""

HEAD, EMBEDDINGS = "head", "embeddings"
"""What comes after the last layer, and what comes before the first."""


class Part(NamedTuple):
    """Weights that are drawn together."""

    name: str
    """'head', 'L5', 'decoder L2', 'all layers' (where they share their weights), 'embeddings'."""
    weights: tuple[str, ...]
    """Names of the parameters."""


def without_twin(model: Model) -> str:
    """Why the weights of a model cannot be drawn anew; empty: they can."""
    if not all(parameter.is_floating_point() for parameter in model.hf.parameters()):
        return f"The weights of {model.name} are packed into whole numbers, so they cannot be drawn anew."
    if any(parameter.is_meta for parameter in model.hf.parameters()):
        return f"The weights of {model.name} are not in memory, so they cannot be drawn anew."
    if not _layers(model):
        return f"The modules of the layers of {model.name} were not found, so its weights cannot be drawn anew layer by layer."
    return ""


def twin_bytes(model: Model) -> int:
    """Bytes of a copy at most: the weights, an output table of its own, and the places of the largest tensor."""
    parameters = list(model.hf.parameters())
    head = model.hf.get_output_embeddings()
    table = getattr(head, "weight", None)
    shared = [table] if table is not None and table is model.hf.get_input_embeddings().weight else []
    held = [*parameters, *model.hf.buffers(), *shared]
    largest = max((parameter.numel() for parameter in parameters), default=0)
    return sum(tensor.numel() * tensor.element_size() for tensor in held) + PLACE_BYTES * largest


def check_twin(model: Model) -> None:
    """Raise where a model cannot be copied, or its copy would take too much memory."""
    reason = without_twin(model)
    if reason:
        raise NotCaptured(reason)
    size = twin_bytes(model)
    if size > TWIN_BYTES:
        msg = (
            f"The weights are drawn in a copy, because others may be using the model. That of {model.name} takes "
            f"{size / 2**30:.1f} GiB, and {TWIN_BYTES / 2**30:.1f} GiB are the most. Choose a smaller model."
        )
        raise TooLarge(msg)


def seed_of(seed: int, name: str) -> int:
    """The seed of one tensor: it depends on no other tensor, so a weight is the same drawn alone and in a cascade."""
    return zlib.crc32(f"{seed} {name}".encode())


def drawn(weights: torch.Tensor, seed: int, name: str) -> torch.Tensor:
    """The entries of a tensor in random places."""
    places = torch.randperm(weights.numel(), generator=torch.Generator().manual_seed(seed_of(seed, name)))
    return weights.detach().reshape(-1)[places.to(weights.device)].reshape(weights.shape)


class Twin:
    """The copy, with the parts in the order of the cascade: from the output to the input."""

    def __init__(self, model: Model, encoded: Encoded) -> None:
        check_twin(model)
        self._true = dict(model.hf.named_parameters(remove_duplicate=False))
        hf = copy.deepcopy(model.hf).eval()
        parts = _parts(model, _first_calls(model, hf, encoded))
        _untie(hf, parts)
        # Examined with its true weights: of random ones, sums that hold by accident could be taken for parts.
        self.model = Model(hf, model.tokenizer, model.identity, task=model.task, borrowed=False)
        self._own = dict(hf.named_parameters(remove_duplicate=False))
        self.parts = tuple(Part(part.name, _once(part.weights, self._own)) for part in parts)

    def draw(self, part: Part, seed: int) -> None:
        """Draw the weights of a part anew."""
        with torch.no_grad():
            for name in part.weights:
                self._own[name].copy_(drawn(self._true[name], seed, name))

    def restore(self, parts: Sequence[Part]) -> None:
        """Give parts the true weights again."""
        with torch.no_grad():
            for name in (name for part in parts for name in part.weights):
                self._own[name].copy_(self._true[name])

    def trace(self, encoded: Encoded, change: Intervention | None) -> Trace:
        """The text through the copy as it is now."""
        (trace,) = self.model.traced([encoded], [change], "auto", ("predictions",))
        return trace


@contextmanager
def twin_of(model: Model, encoded: Encoded) -> Iterator[Twin]:
    """A copy for as long as the context is open."""
    twin = Twin(model, encoded)
    try:
        yield twin
    finally:
        twin.model.release()
        # Modules and hooks point at each other, so without this the weights would stay in memory until the next collection.
        for parameter in twin.model.hf.parameters():
            parameter.data = parameter.data.new_empty(0)


def _layers(model: Model) -> dict[str, list[tuple[str, int]]]:
    """Path of a layer's module -> the (stream, layer) that it is; more than one where layers share their weights."""
    places = [(site.module, site.kind, site.layer) for sites in model.sites.values() for site in sites]
    if not places:
        taps = [tap for tap in model.anatomy.taps if tap.name in ("attention_output", "ffn_out")]
        places = [(tap.module, tap.kind, tap.layer) for tap in taps]
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for module, kind, layer in places:
        path = module.split(".")
        # A layer is the outermost member of a list: the lists within it hold its own parts.
        end = next((at for at, step in enumerate(path) if step.isdigit()), None)
        if end is None:
            return {}
        name = ".".join(path[: end + 1])
        if (stream_of(kind), layer) not in found[name]:
            found[name].append((stream_of(kind), layer))
    return dict(found)


def _first_calls(model: Model, hf: torch.nn.Module, encoded: Encoded) -> dict[str, int]:
    """Module -> when a pass of the copy first calls it; modules that do not run are not in it."""
    found: dict[str, int] = {}

    def hook(name: str) -> Any:
        def called(module: torch.nn.Module, args: Any) -> None:  # noqa: ARG001 (torch calls hooks with both)
            found.setdefault(name, len(found))

        return called

    handles = [module.register_forward_pre_hook(hook(name)) for name, module in hf.named_modules()]
    inputs = {name: tensor for name, tensor in stacked(model, [encoded]).items() if name in model.accepts}
    cache = {"use_cache": False} if "use_cache" in model.accepts else {}
    with torch.inference_mode(mode=False), torch.no_grad():
        hf(**inputs, **cache)
    for handle in handles:
        handle.remove()
    return found


def _parts(model: Model, calls: Mapping[str, int]) -> tuple[Part, ...]:
    """All weights that run, by where they stand in a pass, the last first."""
    layers = _layers(model)
    begins = {
        path: min((at for name, at in calls.items() if f"{name}.".startswith(f"{path}.")), default=len(calls)) for path in layers
    }
    order = sorted(layers, key=begins.__getitem__)
    held: dict[str, list[str]] = defaultdict(list)
    own = dict(model.hf.named_parameters(remove_duplicate=False))

    def part_of(name: str) -> str:
        owner = name.rpartition(".")[0]
        inside = next((path for path in order if name.startswith(f"{path}.")), None)
        return inside or (_outside(model, owner, calls[owner], order, begins) if owner in calls else "")

    for name, parameter in own.items():
        # A table that does not run itself may lend its weights to those that do, as T5's does.
        names = (name, *(other for other in own if own[other] is parameter))
        part = next(filter(None, map(part_of, names)), "")
        if part:
            held[part].append(name)
    streams = {stream for places in layers.values() for stream, _ in places}
    parts = [(HEAD, HEAD), *((path, _title(layers[path], len(streams))) for path in reversed(order)), (EMBEDDINGS, EMBEDDINGS)]
    return tuple(Part(title, tuple(held[key])) for key, title in parts if held[key])


def _outside(model: Model, owner: str, at: int, order: Sequence[str], begins: Mapping[str, int]) -> str:
    """The part of a module that belongs to no layer, called at some time."""
    before = [path for path in order if begins[path] < at]
    if not before:
        return EMBEDDINGS
    if len(before) == len(order):
        return HEAD
    # Between an encoder and a decoder stand the encoder's last norm and the decoder's embeddings.
    table = isinstance(model.hf.get_submodule(owner), torch.nn.Embedding)
    return EMBEDDINGS if table or "embed" in owner.lower() else before[-1]


def _title(places: Sequence[tuple[str, int]], streams: int) -> str:
    stream = f"{places[0][0]} " if streams > 1 else ""
    return f"{stream}L{places[0][1]}" if len(places) == 1 else f"{stream}all layers" if stream else "all layers"


def _once(names: Sequence[str], own: Mapping[str, torch.nn.Parameter]) -> tuple[str, ...]:
    """The first name of each tensor."""
    first: dict[int, str] = {}
    for name in names:
        first.setdefault(id(own[name]), name)
    return tuple(first.values())


def _untie(hf: torch.nn.Module, parts: Sequence[Part]) -> None:
    """Give every part tensors of its own, so that an output table can be drawn while the input table is still the true one."""
    own = dict(hf.named_parameters(remove_duplicate=False))
    taken: dict[int, str] = {}
    for part in parts:
        copies: dict[int, torch.nn.Parameter] = {}
        for name in part.weights:
            parameter = own[name]
            if taken.setdefault(id(parameter), part.name) == part.name:
                continue
            if id(parameter) not in copies:
                copies[id(parameter)] = torch.nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
            owner, _, last = name.rpartition(".")
            setattr(hf.get_submodule(owner), last, copies[id(parameter)])
