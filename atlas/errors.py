"""One small class per failure; every message says what happened and what to do about it.

All of them are `AtlasError`, so the command line and the app can show the message alone and let everything else surface as
the bug it is. Where Python has a word for the failure (ValueError, LookupError, ...) the class is that as well.
"""

from __future__ import annotations

CAN_BE_CUT = "Shorten it, or pass truncate=True to have the end cut off."
"""What to do about a text that is too long, for who writes Python; the page has a box to tick instead."""


SET_A_TEMPLATE = (
    "Give the conversation as one text, or set model.tokenizer.chat_template to the template that the model was trained with."
)
"""What to do about messages for a model without a chat template; the page has a box to untick instead."""


class AtlasError(Exception):
    """Something the caller can mend; the message says how."""


class LibraryChanged(AtlasError, AttributeError):
    """A library no longer has the private attribute that a patch of ours rests on."""


class TextError(AtlasError, ValueError):
    """The text cannot be analysed: empty, nothing but control characters, not encodable."""


class TextTooLong(AtlasError, ValueError):
    """More tokens than the model takes; the message says by how many."""


class TooLarge(AtlasError, MemoryError):
    """A run or an answer that would not fit the named byte ceiling; the message has the numbers."""


class TooMuch(AtlasError, RuntimeError):
    """Work that would take more memory or time than the operator of the server allows; the message has the numbers."""


class ModelNotFound(AtlasError, LookupError):
    """No catalog name, folder or hub repository of that name."""


class NotAllowed(AtlasError, PermissionError):
    """The operator of the server does not allow that to visitors."""


class ModelGated(AtlasError, PermissionError):
    """The hub wants an accepted licence or a token."""


class HubUnreachable(AtlasError, ConnectionError):
    """The hub did not answer, and no complete copy is on disk."""


class BrokenFiles(AtlasError, OSError):
    """Model files that are truncated, corrupt or not what their name says."""


class UnsafeModel(AtlasError, ValueError):
    """Loading would run code from the model (pickled weights, remote code) and nobody asked for that."""


class UnsupportedModel(AtlasError, TypeError):
    """A model whose attention cannot be observed, or not exactly; the message says what remains possible."""


class CaptureMismatch(AtlasError, RuntimeError):
    """What was captured is not what the model itself computes."""


class BadIntervention(AtlasError, ValueError):
    """An ablation, knock-out or patch that does not fit the model or the text."""


class BadAttention(AtlasError, ValueError):
    """Recorded weights that are not attention: wrong shape, NaN where nothing is masked, rows that do not sum to 1."""


class BadData(AtlasError, ValueError):
    """Examples of a benchmark that are not in its format; the message names the first that is wrong."""


class BadTraceFile(AtlasError, OSError):
    """A file that is no trace of ours, or a damaged one."""


class CorpusError(AtlasError, RuntimeError):
    """A run over many texts that cannot begin or go on; what it has done is kept."""


class NoBrowser(AtlasError, RuntimeError):
    """A picture is asked for, and nothing is installed that could draw it; the message says what."""


class UnknownName(AtlasError, LookupError):
    """A kind, head, vector or metric that does not exist here; the message lists those that do."""

    def __str__(self) -> str:
        # LookupError's own __str__ (KeyError's) would quote the message like a key.
        return str(self.args[0]) if self.args else ""


class NotCaptured(AtlasError, LookupError):
    """A group this trace does not hold and cannot get by running its model again."""


class NothingYet(NotCaptured):
    """Nothing is wrong: something was not chosen, measured or found yet, and the message says what to do."""


def fault(error: BaseException) -> str:
    """The sentence for an error that nobody foresaw."""
    return f"This is a fault of Atlas, not yours ({type(error).__name__}: {error}). The log has the details."
