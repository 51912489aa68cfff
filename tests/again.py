"""Run again, alone, what failed in a browser: `python -m tests.again` after a run of pytest that failed.

Two test workers and two browsers share two cores, and a browser that waits too long for its turn stalls: its tests get a second
try when the machine is quiet. Every other failure stays one: the exit code is then that of the first run, 1.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FAILED = Path(".pytest_cache/failed.json")
"""Written by conftest.py at the end of a run: what failed, in a browser and elsewhere."""

MOST = 12
"""More failures in a browser than this are no stalls."""


def verdict(failed: dict[str, list[str]]) -> str:
    """Why there is no second try; empty: there is one."""
    browser, others = failed["browser"], failed["others"]
    if others:
        return f"{len(others)} tests failed that need no browser: " + ", ".join(others[:5])
    if not browser:
        return "The run failed, and no test did."
    if len(browser) > MOST:
        return f"{len(browser)} tests failed in a browser, more than {MOST}: that is no stall."
    return ""


def main() -> int:
    """Run the failed tests of the last run once more, one after the other."""
    failed = json.loads(FAILED.read_text(encoding="utf-8")) if FAILED.exists() else {"browser": [], "others": []}
    reason = verdict(failed)
    print(reason or f"Once more, alone: {', '.join(failed['browser'])}", flush=True)
    if reason:
        return 1
    return subprocess.run([sys.executable, "-m", "pytest", *failed["browser"]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
