"""Finds the user's spaCy pipeline and annotates a text with it; the only module here that uses spaCy.

spaCy is imported on first use, because the import takes a second and also imports torch where that is installed.

A pipeline is loaded from an installed package (its own Python code runs, as with anything that was pip-installed) or from a
folder. A folder holds data only: spaCy reads it as JSON, msgpack and numpy arrays without pickles, and its configuration can
only name functions that an installed package has registered. So a folder from another source cannot run code.
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
"""Pipelines used by default, best first. A pipeline for another language is used only by name, because it would mislabel
English."""

VARIABLE = "ATLAS_SPACY"
"""Environment variable with the name or folder of the pipeline to use."""

PIPELINES_KEPT = 4
"""Pipelines kept loaded: few, because each takes tens to hundreds of megabytes."""

_STOPS_WITHOUT_SPACE = "[。．！？｡।॥؟۔]"  # noqa: RUF001 - these characters are intended
_BLANK_LINE = regex.compile(r"\n\s*\n")
"""Always ends a sentence; lines may end in '\\r\\n'."""


@dataclass(frozen=True)
class Reading:
    """A pipeline's annotations of one text, as plain values with one entry for each token of the pipeline."""

    spans: list[tuple[int, int]]
    sentence_starts: list[int] | None
    """Character at which each sentence begins."""
    pos: list[str] | None
    dep: list[str] | None
    head: list[int] | None
    """Number of the token that this one depends on; a root has its own number."""
    entity: list[str] | None


@dataclass(frozen=True)
class Pipeline:
    """A loaded spaCy pipeline. Threads can share it, because it reads one text at a time."""

    name: str
    nlp: Language = field(repr=False)
    source: str = "given"
    """'package', 'folder', 'embedded', or 'given' for a pipeline the caller made."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def max_length(self) -> int:
        """The most characters that it accepts at once."""
        return int(self.nlp.max_length)

    def read(self, text: str) -> Reading:
        """Annotate a text."""
        with self._lock, self._memory_zone():
            return _reading(self.nlp(text))

    @contextmanager
    def _memory_zone(self) -> Iterator[None]:
        """Forget the words of a text afterwards, because a server's vocabulary would otherwise grow with every text."""
        if self.source == "given":  # the caller may hold documents of this pipeline, which a memory zone could invalidate
            yield
            return
        with self.nlp.memory_zone():
            yield


def has_spacy() -> bool:
    """Whether spaCy can be imported."""
    try:
        import spacy  # noqa: F401 - only tests that the import works
    except ImportError:
        return False
    return True


def find_pipeline(name: str | None = None, *, embedded: Path | None = None) -> Pipeline | None:
    """Load the pipeline to annotate with.

    The first of these is used: `name`, the environment variable ATLAS_SPACY, the largest installed `en_core_web_*`, the folder
    `embedded`. It is loaded once: later and simultaneous calls get the same object.

    Returns
    -------
    Pipeline or None
        None if no pipeline was named and none was found.

    Raises
    ------
    UnknownName
        If no package or folder has the given name.
    BrokenFiles
        If the pipeline exists and spaCy cannot load it.
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
    with _LOADING:  # other callers wait and get the same pipeline from the cache
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
    """The pipeline's sentence starts, and one after every blank line, because parsers run past the end of a heading."""
    after = {found.end() for found in _BLANK_LINE.finditer(doc.text) if found.end() < len(doc.text)}
    return sorted({sentence.start_char for sentence in doc.sents} | after)


def rule_sentences(text: str) -> list[int]:
    """Sentence starts by rules alone: after a blank line, or after closing punctuation (of any script) except in abbreviations.

    This is spaCy's rule-based `sentencizer` on the tokens of its English rules, which know abbreviations such as `Dr.`.
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
    # Chinese, Japanese and others have no space after a full stop, so English rules would not separate it from the next word.
    infixes = compile_infix_regex([*(nlp.Defaults.infixes or []), _STOPS_WITHOUT_SPACE])
    nlp.tokenizer.infix_finditer = infixes.finditer  # type: ignore[union-attr]
    nlp.add_pipe("sentencizer")
    nlp.max_length = np.iinfo(np.int64).max  # the limit protects a parser's memory, and this pipeline has no parser
    return nlp
