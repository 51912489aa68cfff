"""`python -m panel serve apps/atlas_app.py --setup apps/setup.py`, as the README says it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request

from atlas.engine.loading.catalog import entries
from tests.places import REPO


def test_panel_serves_the_app_warm() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "panel", "serve", "apps/atlas_app.py", "--setup", "apps/setup.py"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--address", "127.0.0.1"], cwd=REPO, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        said = ""
        assert process.stdout is not None
        while "app running at" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        # Before the first visitor can come, not some time after.
        assert ("Warm after" in said) == any(entry.embedded for entry in entries()), said
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/atlas_app", timeout=120) as answer:
            assert "<title>Attention Atlas</title>" in answer.read().decode()
    finally:
        process.terminate()
        said += process.communicate(timeout=30)[0]
    assert "Traceback" not in said
