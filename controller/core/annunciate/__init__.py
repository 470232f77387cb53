"""Stage: alarm states per ISA-18.2 for every row and place, and what changed, for people.

Nothing here is read by protection: an alarm that is shelved, suppressed or out of service acts as before.
"""

from __future__ import annotations

from controller.core.annunciate.plan import Annunciator
from controller.core.annunciate.stage import annunciate
from controller.core.annunciate.telling import MAX_ALARM_EVENTS

__all__ = ["MAX_ALARM_EVENTS", "Annunciator", "annunciate"]
