"""`python -m pyad` is the `pyad` command."""

from __future__ import annotations

import sys

from pyad.cli import main

if __name__ == "__main__":
    sys.exit(main())
