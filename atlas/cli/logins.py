"""How `atlas serve` asks visitors who they are: Panel's logins, with every mistake in their options said in one sentence."""

from __future__ import annotations

import argparse
import json
import secrets
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError


def authentication(args: argparse.Namespace) -> dict[str, Any]:
    """The options of Panel's server for logins; every mistake in them is an error of one sentence."""
    if args.basic_auth is None and args.oauth_provider is None:
        return {}
    if args.basic_auth is not None and args.oauth_provider is not None:
        msg = "Either --basic-auth or --oauth-provider can ask visitors who they are, not both."
        raise AtlasError(msg)
    from panel.config import config

    if args.basic_auth is not None:
        from atlas.resources import asset

        return {
            "basic_auth": str(users(args.basic_auth)),
            "cookie_secret": args.cookie_secret or config.cookie_secret or secrets.token_urlsafe(32),
            "login_template": str(asset("login.html")),
        }
    from panel.auth import AUTH_PROVIDERS

    if args.oauth_provider not in AUTH_PROVIDERS:
        msg = f"{args.oauth_provider!r} is no OAuth provider of Panel; there are {', '.join(sorted(AUTH_PROVIDERS))}."
        raise AtlasError(msg)
    needed = {
        "oauth_key": args.oauth_key or config.oauth_key,
        "oauth_secret": args.oauth_secret or config.oauth_secret,
        "cookie_secret": args.cookie_secret or config.cookie_secret,
    }
    missing = [f"--{name.replace('_', '-')} (or PANEL_{name.upper()})" for name, value in needed.items() if not value]
    if missing:
        msg = f"OAuth needs {' and '.join(missing)} too."
        raise AtlasError(msg)
    return {"oauth_provider": args.oauth_provider, **needed, "oauth_redirect_uri": args.oauth_redirect_uri}


def users(path: Path) -> Path:
    """Check the file of users and return its path, because Panel would take the path of a missing file as the password."""
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"The file of users {path} cannot be read: {error.strerror or error}."
        raise AtlasError(msg) from error
    except ValueError as error:
        listed = error
    if not isinstance(listed, dict) or not listed or not all(isinstance(word, str) and word for word in listed.values()):
        msg = f'The file of users {path} does not hold names and passwords as JSON: {{"name": "password"}}.'
        raise AtlasError(msg)
    return path.resolve()
