"""The app as a page: `panel serve apps/atlas_app.py`. Each visitor gets a state of their own; models are shared."""

from __future__ import annotations

from atlas.app import prepare
from atlas.serving import session

prepare()
session().servable(title="Attention Atlas")
