"""Stage: site and rack sequences as first-match transition tables."""

from __future__ import annotations

from controller.core.sequence.engine import Move, Sequence
from controller.core.sequence.rack import RACK_MOVES
from controller.core.sequence.site import SITE_MOVES
from controller.core.sequence.stage import REASONS, Sequences, sequence

__all__ = ["RACK_MOVES", "REASONS", "SITE_MOVES", "Move", "Sequence", "Sequences", "sequence"]
