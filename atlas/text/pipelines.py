"""Find the user's spaCy pipeline and read a text with it; the only module here that knows spaCy.

spaCy is imported on first use: it takes a second and brings torch with it where that is installed.

A pipeline is loaded from an installed package (its own Python code runs, as with anything that was pip-installed) or from a
folder. A folder holds data only: spaCy reads it as JSON, msgpack and numpy arrays without pickles, and its configuration can
name nothing but functions some installed package has registered. So a folder from elsewhere cannot bring code along.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import regex

from atlas.errors import BrokenFiles, UnknownName

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

PREFERRED = ("en_core_web_trf", "en_core_web_lg", "en_core_web_md", "en_core_web_sm")
"""Taken unasked, best first. A pipeline for another language is taken only by name: it would find nonsense in English."""

VARIABLE = "ATLAS_SPACY"
"""Environment variable with the name or folder of the pipeline to use."""

PIPELINES_KEPT = 4
"""A pipeline holds tens to hundreds of megabytes; nobody compares more than a few."""

_STOPS_WITHOUT_SPACE = "[。．！？｡।॥؟۔]"  # noqa: RUF001 - they are meant
_BLANK_LINE = regex.compile(r"\n\s*\n")
"""What ends a sentence whatever stands before it; '\\r\\n' at the ends of lines included."""


@dataclass(frozen=True)
class Reading:
    """What a pipeline says about one text, as plain values: one entry a token of the pipeline."""

    spans: list[tuple[int, int]]
    sentence_starts: list[int] | None
    """Character at which each sentence begins."""
    pos: list[str] | None
    dep: list[str] | None
    head: list[int] | None
    """Number of the token this one depends on; a root's own number."""
    entity: list[str] | None


@dataclass(frozen=True)
class Pipeline:
    """A loaded spaCy pipeline. Safe to share between threads: one text is read at a time."""

    name: str
    nlp: Language = field(repr=False)
    source: str = "given"
    """'package', 'folder', 'embedded', or 'given' for a pipeline the caller made."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def max_length(self) -> int:
        """Characters it accepts at once."""
        return int(self.nlp.max_length)

    def read(self, text: str) -> Reading:
        """Annotate a text."""
        with self._lock, self._zone():
            return _reading(self.nlp(text))

    @contextmanager
    def _zone(self) -> Iterator[None]:
        """Forget the words of this text afterwards, or a server's vocabulary would grow with every text for ever."""
        if self.source == "given":  # the caller may be holding documents of this pipeline, which a zone could invalidate
            yield
            return
        with self.nlp.memory_zone():
            yield


def has_spacy() -> bool:
    """Whether spaCy can be imported."""
    try:
        import spacy  # noqa: F401 - only whether it is there
    except ImportError:
        return False
    return True


def find_pipeline(name: str | None = None, *, embedded: Path | None = None) -> Pipeline | None:
    """Load the pipeline to annotate with.

    Taken, in this order: `name`, the environment variable ATLAS_SPACY, the largest installed `en_core_web_*`, the folder
    `embedded`. Loaded once: later calls, and calls from other threads meanwhile, get the same object.

    Returns
    -------
    Pipeline or None
        None where nothing was asked for and nothing is there.

    Raises
    ------
    UnknownName
        No package or folder of the asked name.
    BrokenFiles
        It is there and spaCy cannot load it.
    """
    if not has_spacy():
        return None
    from spacy.util import get_installed_models, is_package

    wanted = name or os.environ.get(VARIABLE)
    if wanted:
        if is_package(wanted):
            return _load(wanted, "package")
        if _is_layout(Path(wanted)):
            return _load(str(Path(wanted).resolve()), "folder")
        installed = ", ".join(sorted(get_installed_models())) or "none"
        asked = "" if name else f" (asked for by the environment variable {VARIABLE})"
        msg = (
            f"There is no spaCy pipeline {wanted!r}{asked}: neither an installed package (installed: {installed}) nor a "
            f"folder with config.cfg and meta.json. Install it with: python -m spacy download {wanted}"
        )
        raise UnknownName(msg)
    for package in PREFERRED:
        if is_package(package):
            return _load(package, "package")
    if embedded is not None and embedded.exists():
        if not _is_layout(embedded):
            msg = f"The folder {embedded} is no spaCy pipeline: config.cfg or meta.json is missing. Restore or remove it."
            raise BrokenFiles(msg)
        return _load(str(embedded.resolve()), "embedded")
    return None


def _is_layout(folder: Path) -> bool:
    return (folder / "config.cfg").is_file() and (folder / "meta.json").is_file()


_LOADING = threading.Lock()


def _load(where: str, source: str) -> Pipeline:
    with _LOADING:  # who asks meanwhile waits and gets the one that was loaded
        return _loaded(where, source)


@functools.lru_cache(maxsize=PIPELINES_KEPT)
def _loaded(where: str, source: str) -> Pipeline:
    import spacy

    try:
        nlp = spacy.load(Path(where) if source != "package" else where)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:  # what spaCy raises for damaged or foreign files
        reason = " ".join(str(error).split())[:300]
        msg = (
            f"spaCy cannot load the pipeline {where}: {reason} Install it again, or name another one in the "
            f"environment variable {VARIABLE}."
        )
        raise BrokenFiles(msg) from error
    meta = nlp.meta
    name = where if source == "package" else f"{meta.get('lang', 'xx')}_{meta.get('name', Path(where).name)}"
    return Pipeline(name, nlp, source)


def _reading(doc: Doc) -> Reading:
    parsed = doc.has_annotation("DEP")
    return Reading(
        spans=[(token.idx, token.idx + len(token)) for token in doc],
        sentence_starts=_sentence_starts(doc) if doc.has_annotation("SENT_START") else None,
        pos=[token.pos_ for token in doc] if doc.has_annotation("POS") else None,
        dep=[token.dep_ for token in doc] if parsed else None,
        head=[token.head.i for token in doc] if parsed else None,
        entity=[token.ent_type_ for token in doc] if doc.has_annotation("ENT_IOB") else None,
    )


def _sentence_starts(doc: Doc) -> list[int]:
    """Where the pipeline begins a sentence, and after every blank line, because parsers read over the end of a heading."""
    after = {found.end() for found in _BLANK_LINE.finditer(doc.text) if found.end() < len(doc.text)}
    return sorted({sentence.start_char for sentence in doc.sents} | after)


def rule_sentences(text: str) -> list[int]:
    """Where sentences begin by rules alone: a blank line, or closing punctuation (of any script) unless it abbreviates.

    spaCy's rule-based `sentencizer` on the tokens of its English rules, which know abbreviations such as `Dr.`.
    """
    with _RULES_LOCK:
        nlp = _rules()
        starts, begin = [], 0
        for part in [*(found.end() for found in _BLANK_LINE.finditer(text)), len(text)]:
            with nlp.memory_zone():
                starts += [begin + sentence.start_char for sentence in nlp(text[begin:part]).sents]
            begin = part
    return starts


_RULES_LOCK = threading.Lock()


@functools.cache
def _rules() -> Language:
    import spacy
    from spacy.util import compile_infix_regex

    nlp = spacy.blank("en")
    # Chinese, Japanese and others write no space after a full stop; English rules would then not part it from what follows.
    infixes = compile_infix_regex([*(nlp.Defaults.infixes or []), _STOPS_WITHOUT_SPACE])
    nlp.tokenizer.infix_finditer = infixes.finditer  # type: ignore[union-attr]
    nlp.add_pipe("sentencizer")
    nlp.max_length = np.iinfo(np.int64).max  # the limit guards a parser's memory; there is no parser here
    return nlp
