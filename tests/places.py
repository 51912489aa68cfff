"""Where things are, for every test."""

from __future__ import annotations

from pathlib import Path

REPO = Path(__file__).resolve().parent.parent

SHARED_DATA = REPO.parent / "shared" / "data"
"""Corpora and recorded attention that are not part of the project; tests that read them skip where they are absent."""
