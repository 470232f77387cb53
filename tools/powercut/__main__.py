"""`python -m tools.powercut --rounds 200 --seed 1`: rounds of every kind in turn; 0 when nothing was lost."""

from __future__ import annotations

import argparse
import sys
import time

from tools.powercut import disk
from tools.powercut.rounds import KINDS, Lost, Rounds


def main() -> int:
    """Runs the rounds and prints the figures."""
    parser = argparse.ArgumentParser(prog="python -m tools.powercut", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    kinds = KINDS if disk.compiler() else tuple(k for k in KINDS if "cut" not in k)
    rounds, begun = Rounds(args.seed), time.monotonic()
    try:
        for number in range(args.rounds):
            rounds.run(kinds[number % len(kinds)])
    except Lost as lost:
        print(f"LOST in round {number + 1} of seed {args.seed}: {lost}")
        return 1
    finally:
        rounds.close()
    t = rounds.tally
    each = ", ".join(f"{count} {kind}" for kind, count in t.rounds.items())
    print(f"{sum(t.rounds.values())} rounds ({each}) in {time.monotonic() - begun:.0f} s, seed {args.seed}")
    print(f"{t.acknowledged} states acknowledged, {t.in_trouble} of them while the database could not be written")
    print(f"{t.torn} rounds left a damaged, missing or older copy behind")
    print("lost: 0 acknowledged latches, 0 counters went back")
    if kinds != KINDS:
        print("no C compiler: power cuts were left out", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
