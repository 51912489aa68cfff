"""A warm start for `python -m panel serve apps/atlas_app.py --setup apps/setup.py`: the first visitor waits for nothing."""

from __future__ import annotations

import time

from atlas.errors import AtlasError
from atlas.serving import warm

started = time.monotonic()
try:
    warm()
except AtlasError as error:  # the page says the same to whoever comes
    print(f"No warm start: {error}")
else:
    print(f"Warm after {time.monotonic() - started:.1f} s: the model is loaded and has run, the Map has been drawn.")
