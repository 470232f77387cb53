"""`python -m tools.mutate.fresh MODULE NUMBER TEST...`: one mutant in force from the start; fails when a test does."""

from __future__ import annotations

import os
import sys

import pytest

from tools.mutate.changes import ROOT, Finder, mutants


def main() -> int:
    """0 when all tests pass all the same."""
    module, number, *tests = sys.argv[1:]
    os.chdir(ROOT)
    sys.meta_path.insert(0, Finder(next(mutants(module, only=int(number)))))
    return int(pytest.main([*tests, "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--timeout", "0"]))


if __name__ == "__main__":
    raise SystemExit(main())
