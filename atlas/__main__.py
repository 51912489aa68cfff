"""`python -m atlas`: the command line where no script is installed (a checkout in a conda environment)."""

from __future__ import annotations

import sys

from atlas.cli import main

if __name__ == "__main__":
    sys.exit(main())
