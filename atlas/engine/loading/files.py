"""A folder of model files: what it holds, whether it is complete, and whether reading it could run code.

The folder is checked before transformers reads it, because a pickle must be refused by name, and because an error about a
truncated file should name the file and the remedy instead of being a decoding error from inside a library.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError, BrokenFiles, ModelNotFound, UnsafeModel
from atlas.numbers import listed

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

SETTINGS = frozenset({CONFIG, "generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"})
VOCABULARIES = frozenset(
    {"tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model", "spm.model", "sentencepiece.bpe.model",
     "tiktoken.model"}
)  # fmt: skip
"""Files that hold a tokenizer's vocabulary. Without any of them transformers would make an empty one."""

PARTS = frozenset({"merges.txt", "bpe.codes", "source.spm", "target.spm", "target_vocab.json"})
"""Files that some tokenizers need besides their vocabulary."""

WITHOUT_VOCABULARY = frozenset({"ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer"})
"""Tokenizers of bytes or code points, which need nothing but their settings."""

FOR_IMAGES = "preprocessor_config.json"

PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")

HASH_WHOLE_BYTES = 1 << 30
"""Up to 1 GiB the hash of a folder reads all weights (about a second); above that it reads a sample of every file."""

HASH_SAMPLE_BYTES = 1 << 20
"""Bytes read at either end of a file that is too large to be read whole: the header and the last tensor."""


def read_config(folder: Path) -> dict[str, Any]:
    """Read `config.json`; refuse a file that is not a JSON object."""
    return read_object(folder / CONFIG)


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that must hold an object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"{path.parent} holds no {path.name}: {_listing(path.parent)}. Give a folder in which a model was saved."
        raise BrokenFiles(msg) from None
    except (ValueError, RecursionError) as error:
        msg = f"{path} is not JSON ({error}). Get the file again."
        raise BrokenFiles(msg) from error
    if not isinstance(value, dict):
        msg = f"{path} holds a {type(value).__name__} where settings by name belong. Get the file again."
        raise BrokenFiles(msg)
    return value


def weight_files(folder: Path) -> tuple[Path, ...]:
    """List the safetensors files that hold the model: one, or all shards of the index; refuse anything else."""
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS,)
    if not (folder / INDEX).is_file():
        raise no_safetensors(str(folder), _names(folder))
    shards = read_object(folder / INDEX).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        msg = f"{folder / INDEX} names no shards. Get the file again."
        raise BrokenFiles(msg)
    names = sorted({str(name) for name in shards.values()})
    odd = [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]
    if odd:
        # An index is untrusted data: it may neither point out of the folder nor to a pickle.
        msg = f"{folder / INDEX} points to {odd[0]!r}, which is no safetensors file of this folder. Do not use this model."
        raise UnsafeModel(msg)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        msg = f"{folder} lacks {len(missing)} of {len(names)} shards: {listed(missing, 3)}. Get them again."
        raise BrokenFiles(msg)
    return tuple(folder / name for name in names)


def no_safetensors(place: str, names: Iterable[str], more: str = "") -> AtlasError:
    """Make the error for a place without safetensors: UnsafeModel where it has pickles, BrokenFiles where it has no weights."""
    pickled = sorted(name for name in names if name.endswith(PICKLED))
    if pickled:
        msg = (
            f"{place} holds its weights only as {listed(pickled, 3)}, "
            f"and reading a pickle can run any code hidden in it.{more} "
            "Convert it once, where you trust its source: load it with its transformers class and "
            "from_pretrained(..., use_safetensors=False), write it with save_pretrained(folder), and give that folder."
        )
        return UnsafeModel(msg)
    return BrokenFiles(f"{place} holds no weights: there is neither {WEIGHTS} nor {INDEX}.{more}")


def check_weights(path: Path) -> None:
    """Refuse a file that is not safetensors, by its contents, not by its name."""
    from safetensors import SafetensorError, safe_open

    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"PK\x03\x04") or (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05" and len(start) > 1):
        msg = f"{path} is a Python pickle under a false name; reading it could run any code hidden in it. Do not use this model."
        raise UnsafeModel(msg)
    if start.startswith(b"version https://git-lfs"):
        msg = f"{path} is only a pointer to the weights: git-lfs has not fetched them. Run `git lfs pull` there."
        raise BrokenFiles(msg)
    try:
        with safe_open(path, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        msg = f"{path} is truncated or damaged ({error}; {path.stat().st_size:,} bytes). {_how_to_get_again(path)}"
        raise BrokenFiles(msg) from error


def has_tokenizer(folder: Path) -> bool:
    """Whether a tokenizer can be read from this folder."""
    if _names(folder) & VOCABULARIES:
        return True
    settings = folder / "tokenizer_config.json"
    return settings.is_file() and read_object(settings).get("tokenizer_class") in WITHOUT_VOCABULARY


def is_complete(folder: Path) -> bool:
    """Whether the folder has a configuration, all weights and a tokenizer (or image processor), without reading weights."""
    try:
        weight_files(folder)
        return (folder / CONFIG).is_file() and (has_tokenizer(folder) or (folder / FOR_IMAGES).is_file())
    except AtlasError:
        return False


def content_hash(folder: Path) -> str:
    """The hash of a folder's configuration, tokenizer and weights, which does not depend on the folder's path."""
    weights = weight_files(folder)
    whole = sum(path.stat().st_size for path in weights) <= HASH_WHOLE_BYTES
    digest = hashlib.sha256()
    for path in sorted({folder / CONFIG, *(folder / name for name in _names(folder) & VOCABULARIES), *weights}):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            if whole or path not in weights:
                digest.update(hashlib.file_digest(file, "sha256").digest())
            else:
                digest.update(file.read(HASH_SAMPLE_BYTES))
                file.seek(-min(HASH_SAMPLE_BYTES, path.stat().st_size), 2)
                digest.update(file.read())
    return f"{'sha256' if whole else 'sha256-sampled'}:{digest.hexdigest()}"


def require_folder(path: Path) -> None:
    """Refuse a path that is not a folder; the message says which folder to give."""
    if path.is_dir():
        return
    if path.exists():
        msg = f"{path} is a file. Give the folder it stands in, the one with {CONFIG} and {WEIGHTS}."
    else:
        msg = f"There is no folder {path}."
    raise ModelNotFound(msg)


def _how_to_get_again(path: Path) -> str:
    real = path.resolve()
    if real != path.absolute() and "blobs" in real.parts:
        return f"Delete {real} and load the model again: it will be downloaded anew."
    return "Get the file again."


def _names(folder: Path) -> set[str]:
    return {child.name for child in folder.iterdir() if child.is_file()} if folder.is_dir() else set()


def _listing(folder: Path) -> str:
    names = sorted(child.name for child in folder.iterdir()) if folder.is_dir() else []
    return f"there is {listed(names, 3)}" if names else "it is empty"
