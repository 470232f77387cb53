"""`python -m tools.simulator SITE`."""

from __future__ import annotations

import sys

from tools.simulator.command import main

if __name__ == "__main__":
    sys.exit(main())
