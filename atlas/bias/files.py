"""Reads the files of benchmarks: StereoSet's JSON, CrowS-Pairs' CSV, and pairs of sentences as JSONL."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import string
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from atlas.bias.scores import ANTI, LABELS, STEREOTYPE, UNRELATED
from atlas.errors import BadData
from atlas.tracing.benchmarks import CROWS, INTERSENTENCE, KINDS, PAIR_FILE, WINOBIAS

BLANK = "BLANK"
"""What stands in a StereoSet context for the word in question."""

ENDS = (".", "!", "?")
"""What a context ends with before another sentence follows."""

COLUMNS = {CROWS: ("sent_more", "sent_less", "bias_type"), WINOBIAS: ("template", "stereo", "anti_stereo", "type")}
"""Columns of the authors' tables."""

PRONOUN = "[pronoun]"
"""What stands in a WinoBias template for the pronoun."""

Data = str | Path | bytes | Sequence[Mapping[str, Any]] | Mapping[str, Any]
"""A file by its path, the bytes of one, or what is in it."""


class Item(NamedTuple):
    """One example of any benchmark."""

    id: str
    category: str
    target: str
    context: str
    """With BLANK for the word in question, or the sentence before; empty for pairs."""
    sentences: tuple[str, ...]
    """Stereotype, anti-stereotype, unrelated; or more and less stereotyped."""
    words: tuple[str, ...] = ()
    """The word of each sentence that stands for BLANK."""


def read_items(name: str, data: Data) -> list[Item]:
    """The examples of a benchmark, checked one by one."""
    raw = _rows(name, data)
    if KINDS[name].triples:
        part = "intersentence" if name == INTERSENTENCE else "intrasentence"
        if isinstance(raw, Mapping):
            raw = _part(raw, part)
        raw = _listed(name, raw)
        items = [_triple(example, at, part) for at, example in enumerate(raw)]
    else:
        if isinstance(raw, Mapping):
            msg = f"This is one JSON object, not a list of pairs. {KINDS[name].title} reads {KINDS[name].file}."
            raise BadData(msg)
        raw = _listed(name, raw)
        items = [_pair(row, at) for at, row in enumerate(raw)]
    if not items:
        msg = f"There is no example in this file. {KINDS[name].title} reads {KINDS[name].file}."
        raise BadData(msg)
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            msg = f"Two examples have the id {item.id!r}; give each an id of its own."
            raise BadData(msg)
        seen.add(item.id)
    return items


def fingerprint(items: Sequence[Item]) -> str:
    """A hash of the examples, which says whether two files hold the same ones."""
    return hashlib.sha256(json.dumps(items, ensure_ascii=True).encode()).hexdigest()


def as_examples(items: Sequence[Item]) -> list[dict[str, Any]]:
    """The examples as `score_stereoset` takes them; a sentence is named by `sentence_id`."""
    return [
        {
            "id": item.id,
            "bias_type": item.category,
            "target": item.target,
            "sentences": [{"id": sentence_id(item, at), "gold_label": label} for at, label in enumerate(LABELS)],
        }
        for item in items
    ]


def sentence_id(item: Item, at: int) -> str:
    """The name of one of the sentences of an example."""
    return f"{item.id}/{at}"


def _listed(name: str, raw: Any) -> Iterable[Any]:
    if isinstance(raw, Iterable) and not isinstance(raw, str):
        return raw
    msg = f"This holds {type(raw).__name__} where a list of examples belongs. {KINDS[name].title} reads {KINDS[name].file}."
    raise BadData(msg)


def _rows(name: str, data: Data) -> Any:
    """What is in a file."""
    if isinstance(data, str | Path):
        path = Path(data)
        try:
            data = path.read_bytes()
        except (OSError, ValueError) as error:
            msg = f"The data file {path} cannot be read: {getattr(error, 'strerror', None) or error}."
            raise BadData(msg) from error
    if not isinstance(data, bytes):
        return data
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"The data file is not UTF-8 (byte {error.start}). Save it as UTF-8."
        raise BadData(msg) from error
    if name in COLUMNS and text.lstrip()[:1] not in ("{", "["):
        return _csv(name, text)
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as whole:
        return _lines(name, text, whole)


def _lines(name: str, text: str, whole: Exception) -> list[Any]:
    """A JSONL file."""
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except (json.JSONDecodeError, RecursionError) as error:
                where = str(whole) if KINDS[name].triples else f"line {number}: {error}"
                msg = f"The data file is no JSON ({where}). {KINDS[name].title} reads {KINDS[name].file}."
                raise BadData(msg) from error
    return rows


def _csv(name: str, text: str) -> list[dict[str, Any]]:
    """The authors' table of CrowS-Pairs or of WinoBias."""
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        missing = [column for column in COLUMNS[name] if column not in (reader.fieldnames or ())]
        if missing:
            msg = f"The table has no column {missing[0]!r}. {KINDS[name].title} reads {KINDS[name].file}."
            raise BadData(msg)
        return [_crows_row(row, at) if name == CROWS else _winobias_row(row, at) for at, row in enumerate(reader)]
    except csv.Error as error:
        msg = f"The data file is no CSV table: {error}."
        raise BadData(msg) from error


def _crows_row(row: Mapping[str, Any], at: int) -> dict[str, Any]:
    return {"id": row.get("") or str(at), "more": row["sent_more"], "less": row["sent_less"], "category": row["bias_type"]}


def _winobias_row(row: Mapping[str, Any], at: int) -> dict[str, Any]:
    """The template with the pronoun of the stereotype, and with that of its opposite."""
    template = row["template"] or ""
    more, less = (template.replace(PRONOUN, row[column] or "") if PRONOUN in template else None
                  for column in ("stereo", "anti_stereo"))  # fmt: skip
    return {"id": str(at), "more": more, "less": less, "category": row["type"]}


def _part(raw: Mapping[str, Any], part: str) -> Sequence[Any]:
    """The examples of one part of StereoSet's file."""
    inside = raw.get("data", raw)
    found = inside.get(part) if isinstance(inside, Mapping) else None
    if not isinstance(found, list):
        msg = f"This JSON has no list data[{part!r}], as StereoSet's dev.json has."
        raise BadData(msg)
    return found


def _triple(example: Any, at: int, part: str) -> Item:
    """An example of StereoSet."""
    name = str(example.get("id", at)) if isinstance(example, Mapping) else str(at)
    context, target, category = (_text(example, key, name) for key in ("context", "target", "bias_type"))
    rows = example.get("sentences")
    by_label = {str(row.get("gold_label")): row for row in rows if isinstance(row, Mapping)} if isinstance(rows, list) else {}
    if not isinstance(rows, list) or len(rows) != len(LABELS) or set(by_label) != set(LABELS):
        msg = f"Example {name!r} needs three sentences with the gold labels {STEREOTYPE}, {ANTI} and {UNRELATED}."
        raise BadData(msg)
    sentences = tuple(_text(by_label[label], "sentence", name) for label in LABELS)
    words = tuple(_word(context, sentence, name) for sentence in sentences) if part == "intrasentence" else ()
    return Item(name, category, target, context, sentences, words)


def _word(context: str, sentence: str, name: str) -> str:
    """The word that stands for BLANK, without punctuation.

    As in the authors' code: it is as many spaces into the sentence as (the last) BLANK is into the context.
    """
    places = [at for at, part in enumerate(context.split(" ")) if BLANK in part]
    parts = sentence.split(" ")
    word = parts[places[-1]].translate(str.maketrans("", "", string.punctuation)) if places and places[-1] < len(parts) else ""
    if not word:
        msg = f"Example {name!r}: no word of {sentence!r} stands for {BLANK} in {context!r}."
        raise BadData(msg)
    return word


def _pair(row: Any, at: int) -> Item:
    name = str(row.get("id", at)) if isinstance(row, Mapping) else str(at)
    more, less = (_text(row, key, name) for key in ("more", "less"))
    category = str(row.get("category") or row.get("bias_type") or "all")
    return Item(name, category, str(row.get("target") or ""), "", (more, less))


def _text(row: Any, key: str, name: str) -> str:
    value = row.get(key) if isinstance(row, Mapping) else None
    if not isinstance(value, str) or not value.strip():
        form = "" if key not in ("more", "less") else f" The format is {PAIR_FILE}."
        msg = f"Example {name!r} has no text {key!r}.{form}"
        raise BadData(msg)
    return value
