"""Long streams of token numbers on disk: documents one after the other, each ended by a separator, cut where a batch needs it.

The corpora are encoded once. Stories are written and encoded shard by shard, when training reaches them: a shard depends on its
own number only, so a run that stops and goes on reads the same stories as one that never stopped.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import corpus, stories

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Tokens = np.ndarray
STORY_SHARD_DOCUMENTS = 12_000  # about 1.5 million tokens, some twenty seconds to make
HELD_OUT_STORIES = 400
HELD_OUT_STORY_SEED = 900_000  # shards are seeds 0, 1, 2 ...
VOCABULARY_STORIES = 14_000
VOCABULARY_PIECES = 9_000
ENCODE_AT_ONCE = 500
FINGERPRINT_STORIES = 100  # every episode is told several times in them
SHARDS_IN_MEMORY = 2


def story_texts(seed: int, count: int) -> Iterator[str]:
    """The first stories of a seed."""
    return (made.text for made in itertools.islice(stories.documents(seed), count))


def vocabulary_sample(files: Sequence[Path]) -> Iterator[str]:
    """What tokenizers are trained on: every k-th plain piece and some stories."""
    found = [piece.text for _, pieces in corpus.plainest(files) for piece in pieces if not piece.held_out]
    step = max(1, len(found) // VOCABULARY_PIECES)
    yield from found[::step]
    yield from story_texts(0, VOCABULARY_STORIES)


def check_stories_are_the_same(folder: Path) -> None:
    """Refuse to go on with other stories than a run began with: what was learnt would then have no recipe."""
    digest = hashlib.blake2b(
        "\n".join(story_texts(HELD_OUT_STORY_SEED + 1, FINGERPRINT_STORIES)).encode(), digest_size=16
    ).hexdigest()
    place = folder / "stories.fingerprint"
    if not place.exists():
        folder.mkdir(parents=True, exist_ok=True)
        place.write_text(digest + "\n")
    elif place.read_text().strip() != digest:
        message = (
            f"the stories are told differently now than when the run in {folder.parent} began; "
            f"finish it with the recipe it began with, or remove that folder to begin anew"
        )
        raise ChangedRecipeError(message)


def pack(documents: Iterable[Sequence[int]], separator: int) -> Tokens:
    """All tokens of all documents in order, a separator after each: nothing is lost, nothing is padded."""
    return np.fromiter(
        itertools.chain.from_iterable(itertools.chain(document, (separator,)) for document in documents), dtype=np.uint16
    )


def encode(texts: Iterable[str], tokenizer: PreTrainedTokenizerFast, separator: int) -> Tokens:
    """Texts to one stream, without the tokenizer's own frame around each."""
    backend = tokenizer.backend_tokenizer
    todo = iter(texts)
    parts = []
    while chunk := list(itertools.islice(todo, ENCODE_AT_ONCE)):
        parts.append(pack((found.ids for found in backend.encode_batch(chunk, add_special_tokens=False)), separator))
    return np.concatenate(parts) if parts else np.empty(0, np.uint16)


def cached(path: Path, make: Callable[[], Tokens]) -> Tokens:
    """Read from disk, or make and write so that a broken-off write is never read."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished.npy")
        np.save(unfinished, make())
        unfinished.replace(path)
    loaded: Tokens = np.load(path, mmap_mode="r")
    return loaded


class ChangedRecipeError(ValueError):
    """A run is resumed with data that is made differently now."""


class Stream:
    """Token numbers by position, round and round: a corpus read more than once begins again."""

    def __init__(self, tokens: Tokens) -> None:
        if not len(tokens):
            message = "an empty stream: no text was left to learn from"
            raise ValueError(message)
        self.tokens = tokens

    def take(self, start: int, count: int) -> Tokens:
        """`count` tokens from any position."""
        return np.take(self.tokens, np.arange(start, start + count), mode="wrap")


class StoryStream:
    """Stories without end by position; every shard is cut to one length, so that a position says which shard it is in."""

    def __init__(
        self,
        folder: Path,
        tokenizer: PreTrainedTokenizerFast,
        separator: int,
        documents: int = STORY_SHARD_DOCUMENTS,
        texts: Callable[[int, int], Iterator[str]] = story_texts,
        name: str = "stories",
    ) -> None:
        self.folder, self.tokenizer, self.separator, self.documents = folder, tokenizer, separator, documents
        self.texts, self.name = texts, name
        self.shards: dict[int, Tokens] = {}
        # The shortest story has 40 words, a typical one 100: no shard of so many documents comes out shorter than this.
        self.shard_tokens = documents * 60

    def _shard(self, number: int) -> Tokens:
        if number not in self.shards:
            while len(self.shards) >= SHARDS_IN_MEMORY:
                self.shards.pop(next(iter(self.shards)))
            tokens = cached(
                self.folder / f"{self.name}-{number:03d}.npy",
                lambda: encode(self.texts(number, self.documents), self.tokenizer, self.separator),
            )
            self.shards[number] = tokens[: self.shard_tokens]
        return self.shards[number]

    def take(self, start: int, count: int) -> Tokens:
        """`count` tokens from any position."""
        parts = []
        while count:
            number, offset = divmod(start, self.shard_tokens)
            part = self._shard(number)[offset : offset + count]
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return np.concatenate(parts)


def corpus_streams(
    folder: Path, tokenizer: PreTrainedTokenizerFast, separator: int, files: Sequence[Path]
) -> dict[str, tuple[Stream, Stream]]:
    """For every file its stream to learn from and its held-out stream."""
    names = [file.name.split(".")[0] for file in files]
    wanted = {(name, part): folder / f"{name}-{part}.npy" for name in names for part in ("train", "held-out")}
    if not all(path.exists() for path in wanted.values()):
        for file, pieces in corpus.plainest(files):
            for part in ("train", "held-out"):
                texts = [piece.text for piece in pieces if piece.held_out == (part == "held-out")]
                cached(wanted[file.name.split(".")[0], part], lambda texts=texts: encode(texts, tokenizer, separator))
    return {
        name: (Stream(np.load(wanted[name, "train"], mmap_mode="r")), Stream(np.load(wanted[name, "held-out"], mmap_mode="r")))
        for name in names
    }


def held_out_stories(folder: Path, tokenizer: PreTrainedTokenizerFast, separator: int) -> Stream:
    """Stories of a seed no shard has."""
    return Stream(
        cached(
            folder / "stories-held-out.npy",
            lambda: encode(story_texts(HELD_OUT_STORY_SEED, HELD_OUT_STORIES), tokenizer, separator),
        )
    )
