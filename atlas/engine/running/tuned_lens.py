"""The tuned lens: reads every layer through a fitted affine map before the unembedding (Belrose et al. 2023).

A lens is a safetensors file with one map a layer: `0.weight` (width, width) and `0.bias` (width,) for the state that enters layer
0, and so on; the names may begin with `translators.` or `layer_translators.`, and the biases may be missing. As in the
tuned-lens project the map is a change: a state h is read as h + W h + b, so a lens of zeros is the logit lens. A `config.json`
beside the file may name the model that the lens was fitted for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open

from atlas.engine.loading.files import CONFIG, PICKLED, check_weights, read_object
from atlas.engine.running.capture import Rerun
from atlas.engine.running.logit_lens import logit_lens
from atlas.errors import BrokenFiles, NotCaptured, UnsafeModel, UnsupportedModel
from atlas.tracing.logit_lens import TUNED_LENS, TUNED_LENS_NAME, LogitLens

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.trace import Trace

TENSOR = re.compile(r"(?:(?:layer_)?translators\.)?(\d+)\.(weight|bias)")
"""Names of the tensors of a lens."""

LINEAR = "linear_tuned_lens"
"""The only kind of lens there is, as its configuration calls it."""

SHOWN = 3
"""Names of wrong tensors that an error lists."""


@dataclass(frozen=True)
class TunedLens:
    """A fitted lens of one model. `Model.lens` makes it."""

    name: str
    """Of its file or folder"""
    fitted_for: str
    """The model that its configuration names; empty: none"""
    weights: tuple[torch.Tensor, ...]
    biases: tuple[torch.Tensor | None, ...]

    def read(self, trace: Trace, positions: Sequence[int] = (), report: Callable[[int, int], None] | None = None) -> LogitLens:
        """What every layer of a trace of the model predicts, as `logit_lens` gives it; the last row is the model's own output."""
        return logit_lens(trace, positions, report, change=self.changed)

    def changed(self, layer: int, state: torch.Tensor) -> torch.Tensor:
        """The states (position, width) that enter a layer, changed by its map; those that leave the last layer as they are."""
        if layer >= len(self.weights):
            return state
        made = state.float() @ self.weights[layer].to(state.device).float().T
        bias = self.biases[layer]
        return state + (made if bias is None else made + bias.to(state.device).float()).to(state.dtype)

    @property
    def about(self) -> str:
        """Its name, and for which model it was fitted."""
        return f"{self.name}, fitted for {self.fitted_for}" if self.fitted_for else self.name


def read_lens(model: Model, path: str | Path) -> TunedLens:
    """A lens from a safetensors file or a folder with one; refused where it does not fit the model."""
    file = _file(Path(path))
    check_weights(file)
    stream = "decoder" if "decoder" in model.anatomy.streams else next(iter(model.anatomy.streams), "")
    if not stream or not model.anatomy.unembedding:
        msg = (
            f"{model.name} has no logit lens, so it has no tuned lens: {model.anatomy.missing.get(('', 'unembed'), 'no stream')}."
        )
        raise UnsupportedModel(msg)
    layers, width = model.anatomy.streams[stream], model.anatomy.widths[stream]
    expected = (
        f"Expected for {model.name}: {layers} maps, '0.weight' to '{layers - 1}.weight' of {width:,} × {width:,} numbers, and "
        f"'0.bias' to '{layers - 1}.bias' of {width:,}, if any."
    )
    fitted_for = _configured(file.with_name(CONFIG), layers, width, expected)
    found: dict[tuple[int, str], torch.Tensor] = {}
    with safe_open(file, framework="pt") as opened:
        names = list(opened.keys())
        places = {name: TENSOR.fullmatch(name) for name in names}
        strange = [name for name, place in places.items() if place is None or int(place[1]) >= layers]
        if strange:
            msg = f"{file} holds {len(strange)} tensors that are no maps of such a lens: {', '.join(strange[:SHOWN])}. {expected}"
            raise BrokenFiles(msg)
        for name, place in places.items():
            assert place is not None
            found[int(place[1]), place[2]] = opened.get_tensor(name)
    _check(file, found, layers, width, expected)
    where = Path(path)
    return TunedLens(
        where.stem if where.is_file() else where.name,
        fitted_for,
        tuple(found[layer, "weight"] for layer in range(layers)),
        tuple(found.get((layer, "bias")) for layer in range(layers)),
    )


def _file(path: Path) -> Path:
    """The safetensors file that is meant."""
    if path.is_dir():
        held = sorted(path.glob("*.safetensors"))
        if len(held) == 1:
            return held[0]
        pickled = [file.name for file in sorted(path.iterdir()) if file.suffix in PICKLED]
        if not held and pickled:
            raise _pickle(path / pickled[0])
        msg = f"{path} holds {len(held)} safetensors files, and a lens is one. Give the file."
        raise BrokenFiles(msg)
    if path.suffix in PICKLED:
        raise _pickle(path)
    if not path.is_file():
        msg = f"There is no file {path}. A lens is a safetensors file, or a folder with one."
        raise BrokenFiles(msg)
    return path


def _pickle(path: Path) -> UnsafeModel:
    return UnsafeModel(
        f"{path} is a pickle, and reading one can run any code hidden in it. Convert it once, where you trust its source: "
        "safetensors.torch.save_file(torch.load(path, weights_only=True), 'lens.safetensors')."
    )


def _configured(path: Path, layers: int, width: int, expected: str) -> str:
    """For which model the lens was fitted; its sizes are checked."""
    if not path.is_file():
        return ""
    settings = read_object(path)
    wanted = {"d_model": width, "num_hidden_layers": layers, "lens_type": LINEAR}
    wrong = {name: settings[name] for name, value in wanted.items() if name in settings and settings[name] != value}
    if wrong:
        words = ", ".join(f"{name} = {value}" for name, value in wrong.items())
        msg = f"{path} says {words}: this lens is for another model. {expected}"
        raise BrokenFiles(msg)
    return str(settings.get("base_model_name_or_path") or "")


def _check(file: Path, found: Mapping[tuple[int, str], torch.Tensor], layers: int, width: int, expected: str) -> None:
    missing = [f"{layer}.weight" for layer in range(layers) if (layer, "weight") not in found]
    if missing:
        msg = f"{file} lacks {len(missing)} maps: {', '.join(missing[:SHOWN])}. {expected}"
        raise BrokenFiles(msg)
    shapes = {"weight": (width, width), "bias": (width,)}
    for (layer, part), tensor in sorted(found.items()):
        if tuple(tensor.shape) != shapes[part]:
            size = " × ".join(f"{side:,}" for side in tensor.shape)
            msg = f"'{layer}.{part}' in {file} has {size} numbers. {expected}"
            raise BrokenFiles(msg)
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            msg = f"'{layer}.{part}' in {file} holds numbers that are not finite, or whole numbers. Get the file again."
            raise BrokenFiles(msg)


def tuned_lens_name(trace: Trace) -> str:
    """What the lens of the model of a trace is called; empty: none was given."""
    lens = trace.live.model.tuned_lens if isinstance(trace.live, Rerun) else None
    return "" if lens is None else lens.about


def tuned_lens(trace: Trace, positions: Sequence[int] = (), report: Callable[[int, int], None] | None = None) -> LogitLens:
    """What every layer predicts, read through the lens that was given for the model."""
    lens = trace.live.model.tuned_lens if isinstance(trace.live, Rerun) else None
    if lens is None:
        msg = "No tuned lens was given for this model: model.lens(file) in Python, atlas serve --lens MODEL=FILE for the page."
        raise NotCaptured(msg)
    return lens.read(trace, positions, report)


TASKS: Mapping[str, Callable[..., Any]] = {TUNED_LENS: tuned_lens, TUNED_LENS_NAME: tuned_lens_name}
"""Work with the model that views may request, by name."""
