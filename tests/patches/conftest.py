"""Patches of scripts are tested where they run: in a browser."""

from __future__ import annotations

from tests.browser import browser, page

__all__ = ["browser", "page"]
