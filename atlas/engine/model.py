"""Model: a transformer that can be traced, owned or borrowed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from atlas.engine.anatomy import internals
from atlas.engine.anatomy.parts import Parts
from atlas.engine.anatomy.probe_recording import writes_into
from atlas.engine.loading.examine import examine
from atlas.engine.loading.identity import Identity, described
from atlas.engine.running import budget, capture
from atlas.engine.running.batches import in_batches
from atlas.engine.running.chat import Message, read
from atlas.engine.running.draft import draft_of
from atlas.engine.running.encode import Encoded, Encoding, encode, pair_of, usable_length
from atlas.engine.running.interventions import Intervention
from atlas.engine.running.recorder import Keep, TextShape
from atlas.engine.running.sampling import OnToken, Sampling
from atlas.engine.running.targets import with_target
from atlas.engine.running.tuned_lens import TunedLens, read_lens
from atlas.engine.running.write import spanned, with_written, write_trace
from atlas.errors import BadIntervention, TextError, UnsupportedModel

if TYPE_CHECKING:
    from types import TracebackType

    from atlas.ids import Headlike
    from atlas.trace import Trace
    from atlas.tracing.spans import Span

Progress = Callable[[int, int], None]
"""(layers done, all layers)"""


class Model(Parts):
    """A model and its tokenizer, checked once and ready to be traced. `atlas.load` makes it."""

    def __init__(
        self, hf: Any, tokenizer: Any, identity: Identity, *, task: str, borrowed: bool, notes: Sequence[str] = ()
    ) -> None:
        self.hf = hf
        self.tokenizer = tokenizer
        self.identity = identity
        self.task = task
        self.borrowed = borrowed
        self.accepts = frozenset(inspect.signature(hf.forward).parameters)
        self.limit = usable_length(hf, tokenizer)
        found = examine(hf, tokenizer, self.forward, task=task, limit=self.limit)
        self.kinds = found.kinds
        self.sites = found.sites
        self.size = found.size
        self.notes = [*notes, *found.notes]
        self._anatomy = found.anatomy
        self._borrowed = found.borrowed
        self._hooks = internals.install(hf, found.anatomy)
        self._released = False
        self.tuned_lens: TunedLens | None = None
        """The lens that was given last, which the page offers beside the logit lens."""
        # Listed once, because walking the modules at every run takes as long as all its hooks together.
        self._parameters = list(hf.parameters())
        if not borrowed:
            # An owned model stays in the state that a run needs, so that no run has to switch anything. Passes that are not
            # observed still run SDPA.
            hf.eval()
            self._borrowed.settle()

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The model's name."""
        return self.identity.name

    @property
    def revision(self) -> str | None:
        """The model's version: a commit on the hub, else a hash of its files; None in memory."""
        return self.identity.revision

    @property
    def interface(self) -> bool:
        """Whether Atlas observes the attention itself. Otherwise it has only the weights that the model returns."""
        return bool(self.sites)

    @property
    def device(self) -> torch.device:
        """The device on which the model computes."""
        device: torch.device = self.hf.get_input_embeddings().weight.device
        return device

    def __repr__(self) -> str:
        sizes = ", ".join(f"{kind.kind} {kind.n_layers}x{kind.n_heads}" for kind in self.size.kinds)
        return f"<Model {self.name}: {sizes}{', borrowed' if self.borrowed else ''}>"

    # -- tracing -------------------------------------------------------------------------------------------------------

    def trace(
        self,
        text: str | Encoding | None = None,
        pair: str | None = None,
        target: str | None = None,
        *,
        messages: Sequence[Message] | None = None,
        answer: bool = False,
        spans: Sequence[Span] = (),
        keep: str = "auto",
        capture: Sequence[str] = capture.DEFAULT_CAPTURE,
        truncate: bool = False,
        ablate: Sequence[Headlike] | Mapping[Headlike, Any] = (),
        knock_out: Sequence[tuple[Headlike, int, int]] = (),
        patch: Mapping[Headlike, Any] | None = None,
        regenerate: bool = False,
        progress: Progress | None = None,
    ) -> Trace:
        """Run a text through the model once and record its attention.

        Parameters
        ----------
        text
            The text, or a ready encoding (`input_ids` and what belongs to them).
        pair
            A second segment.
        target
            The text that the decoder of an encoder-decoder reads. By default the text that the model generates, greedily.
        messages
            Instead of a text: `{'role': ..., 'content': ...}` one after another, written out by the tokenizer's chat template.
            `tokens()` then has a column `span` with the role of every token; '' for those the template adds.
        answer
            End the messages where the assistant's answer begins; after a last message of the assistant, in that message.
        spans
            (side, start, end, name) of stretches of characters, such as ('source', 0, 12, 'prompt'): `tokens()` then has a
            column `span`. Tokens of 'written' ones have the probability with which the model writes them.
        keep
            'weights'; 'qk', from which any weight is recomputed exactly; or 'auto', which chooses by size.
        capture
            What to record besides attention: 'stream', 'ffn', 'norms', 'head_outputs', 'predictions'.
        truncate
            Cut a text that is too long (the trace says by how much) instead of refusing it.
        ablate
            Heads whose output is replaced by zero; a mapping says 'zero' or 'mean' for each.
        knock_out
            (head, query, key): edges removed before the softmax.
        patch
            head -> `Pattern`, `Output`, or an array that fits only one of the two by its shape.
        regenerate
            Let an encoder-decoder write its target under these changes. Otherwise the unchanged model writes it, so that two
            runs can be compared token by token. The notes of the provenance say which of the two was done.
        progress
            Called with the number of finished layers and the number of all layers.
        """
        change = Intervention(ablate, knock_out, patch)
        encoded = read(self, text, pair, messages, truncate=truncate, answer=answer)
        encoded = spanned(with_target(self, encoded, target, change, regenerate=regenerate), spans)
        (trace,) = self.traced([encoded], [change or None], keep, capture, progress)
        return with_written(self, trace, encoded, change) if spans else trace

    def write(
        self,
        text_or_messages: str | Encoding | Sequence[Message],
        tokens: int = 50,
        sample: bool = False,  # noqa: FBT001, FBT002 - the public signature
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int = 0,
        *,
        begun: Sequence[int] = (),
        on_token: OnToken | None = None,
        progress: Progress | None = None,
        keep: str = "auto",
        capture: Sequence[str] = capture.DEFAULT_CAPTURE,
        truncate: bool = False,
        ablate: Sequence[Headlike] | Mapping[Headlike, Any] = (),
        knock_out: Sequence[tuple[Headlike, int, int]] = (),
    ) -> Trace:
        """Let the model write on, and trace prompt and written tokens in one pass over the whole text.

        A causal model writes on in the text, an encoder-decoder writes its target. `tokens()` has a column `span` ('prompt',
        'written', a role, '') and a column `probability` of the written tokens: the model's own, before temperature and top-p.
        The alternatives at position p are the `predictions` at p - 1. The model stops at its end token, which is no part of the
        trace; the notes of the provenance say why it stopped.

        Parameters
        ----------
        text_or_messages
            The prompt, as `trace` takes it, or messages; the assistant's answer is then written.
        tokens
            How many tokens are written at most.
        sample, temperature, top_p, seed
            Draw each token, from this seed alone; without `sample` the likeliest token is taken each time.
        begun
            Ids of written tokens that are there already: the model writes on from them.
        on_token, progress
            Called with every `WrittenToken` as it comes; with the number of written tokens and the most there will be.
        keep, capture, truncate, ablate, knock_out
            As for `trace`. The heads and edges are switched off while the model writes too.
        """
        draft = draft_of(self, text_or_messages, begun, Intervention(ablate, knock_out), truncate=truncate)
        sampling = Sampling(sample, temperature, top_p, seed)
        return write_trace(draft, tokens, sampling, keep=keep, groups=capture, on_token=on_token, progress=progress)

    def traces(
        self,
        texts: Iterable[str | tuple[str, str] | Encoding],
        batch_size: int = 8,
        *,
        targets: Sequence[str | None] | None = None,
        interventions: Sequence[Intervention | None] | None = None,
        ablate: Sequence[Headlike] | Mapping[Headlike, Any] = (),
        knock_out: Sequence[tuple[Headlike, int, int]] = (),
        patch: Mapping[Headlike, Any] | None = None,
        regenerate: bool = False,
        keep: str = "auto",
        capture: Sequence[str] = capture.DEFAULT_CAPTURE,
        truncate: bool = False,
    ) -> Iterator[Trace]:
        """Trace many texts in padded batches and yield one Trace at a time, each equal to the result of `trace`.

        `interventions` and `targets`, if given, have one entry for each text; `ablate`, `knock_out` and `patch` apply to all
        texts. A pair of texts is a tuple.
        """
        if isinstance(texts, str | Mapping):
            msg = "model.traces takes several texts; put one text in a list, or pass it to model.trace."
            raise TextError(msg)
        batch_texts = list(texts)
        for name, sequence in (("targets", targets), ("interventions", interventions)):
            if sequence is not None and len(sequence) != len(batch_texts):
                msg = f"There are {len(batch_texts)} texts and {len(sequence)} {name}; give one for each text."
                raise TextError(msg)
        if not isinstance(batch_size, int) or batch_size < 1:
            msg = f"A batch has at least one text; batch_size={batch_size} was asked for."
            raise TextError(msg)
        pairs = [pair_of(text) for text in batch_texts]
        shared = Intervention(ablate, knock_out, patch) or None
        if shared and interventions is not None:
            msg = "Give either interventions=, one for each text, or ablate=, knock_out= and patch= for all of them."
            raise BadIntervention(msg)
        changes = list(interventions or [shared] * len(batch_texts))
        targets = list(targets or [None] * len(batch_texts))
        return in_batches(self, pairs, targets, changes, batch_size, keep, capture, truncate=truncate, regenerate=regenerate)

    def lens(self, path: str | Path) -> TunedLens:
        """A tuned lens of this model, from a safetensors file or a folder with one; `running/tuned_lens.py` says what it holds.

        `model.lens(path).read(trace)` reads a trace through it. It is kept, and the page offers it beside the logit lens.
        """
        self.tuned_lens = read_lens(self, path)
        return self.tuned_lens

    def release(self) -> None:
        """Give a borrowed model back as it was: remove the hooks and restore its own attention implementation."""
        for handle in self._hooks:
            handle.remove()
        self._hooks = []
        self._borrowed.give_back()
        self._released = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def run(
        self,
        batch: Sequence[Encoded],
        changes: Sequence[Intervention | None],
        keep: Keep,
        groups: Sequence[str],
        progress: Progress | None = None,
    ) -> list[Trace]:
        """Run encoded texts once, with the model in the state a run needs."""
        with self.held():
            if self.interface:
                return capture.run(self, batch, changes, keep, groups, progress)
            return capture.run_plain(self, batch, groups)

    def run_groups(self, encoded: Encoded, change: Intervention | None, groups: Sequence[str]) -> capture.Captured:
        """Run an encoded text again for capture groups alone, without recording its attention."""
        budget.choose(self.size, TextShape(encoded.n_source, encoded.n_target), "qk", groups)
        with self.held():
            return capture.run_groups(self, encoded, change, groups)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the model in the state a run needs while the context is open."""
        if self._released:
            msg = f"{self.name} was released, so its hooks are gone. Load it again with atlas.load to trace it."
            raise UnsupportedModel(msg)
        with self._borrowed.held():
            yield

    def forward(self, inputs: Mapping[str, torch.Tensor], **options: Any) -> Any:
        """One forward pass, with the cache of keys and values switched off where the model has one."""
        if "use_cache" in self.accepts:
            options.setdefault("use_cache", False)
        return self.hf(**{name: tensor for name, tensor in inputs.items() if name in self.accepts}, **options)

    def traced(
        self,
        batch: Sequence[Encoded],
        changes: Sequence[Intervention | None],
        keep: str,
        groups: Sequence[str],
        progress: Progress | None = None,
    ) -> list[Trace]:
        """Run encoded texts under their changes, if what is to be kept of them fits into memory."""
        if not self.interface and any(changes):
            msg = f"{self.name} does not use transformers' attention interface, so its heads cannot be ablated, cut or patched."
            raise BadIntervention(msg)
        longest = TextShape(max(e.n_source for e in batch), max(e.n_target for e in batch))
        return self.run(batch, changes, self.sized(longest, keep, groups, len(batch)), capture.checked_groups(groups), progress)

    def sized(self, longest: TextShape, keep: str, groups: Sequence[str], n_texts: int = 1) -> Keep:
        """What can be kept of texts up to a size; raises where it does not fit into memory."""
        # A model outside the interface can only keep weights; a misspelt `keep` is still an error there.
        outside = not self.interface and keep in ("auto", "qk")
        return budget.choose(self.size, longest, "weights" if outside else keep, capture.checked_groups(groups), n_texts)

    def encode(self, text: str | Encoding, pair: str | None = None, *, truncate: bool = False, **options: Any) -> Encoded:
        """The inputs of a text; `options` are the tokenizer's own."""
        # `check` refuses a text that cannot fit before the token tables are made and before a target is generated.
        decoder = 1 if "cross" in self.kinds else 0
        keep = "auto" if self.interface else "weights"
        return encode(
            self.tokenizer, self.hf, text, pair, truncate=truncate, limit=self.limit,
            check=lambda n_tokens: budget.choose(self.size, TextShape(n_tokens, decoder), keep, ()), **options,
        )  # fmt: skip

    # -- what a run needs to know --------------------------------------------------------------------------------------

    @property
    def pad_id(self) -> int:
        """The id that pads rows: the model's own, because RoBERTa's positions depend on it; else any, since padding is masked."""
        # The model's own id comes first, because a causal classifier looks for its last token by that id.
        for source in (self.hf.config, self.tokenizer):
            value = getattr(source, "pad_token_id", None)
            if isinstance(value, int) and 0 <= value < self.hf.get_input_embeddings().weight.shape[0]:
                return value
        return 0

    def weights_version(self) -> int:
        """A number that changes whenever a weight changes, because autograd counts every write into a tensor."""
        return hash(tuple((parameter.data_ptr(), writes_into(parameter)) for parameter in self._parameters))

    def outcome_names(self, ids: np.ndarray) -> np.ndarray:
        """Outcomes as text: tokens, or a classifier's labels."""
        if self.task.endswith("classification"):
            labels = self.hf.config.id2label
            return np.vectorize(lambda i: str(labels.get(int(i), i)), otypes=[object])(ids)
        return capture.token_names(self.tokenizer, ids)

    def provenance(self, encoded: Encoded, keep: str, change: Intervention | None) -> dict[str, Any]:
        """The origin of a trace, as plain values."""
        return described(self, encoded, keep, change)
