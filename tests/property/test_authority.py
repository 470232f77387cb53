"""Whatever masters ask for, in any order: one has control, the others are refused, and everybody may stop the plant."""

from __future__ import annotations

import dataclasses
import os

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.authority import GOVERNED, authorise, publish
from controller.core.command import Command, Kind, Origin, Role
from controller.core.memory import AuthorityMemory
from controller.core.program import Program
from controller.core.settings import AuthoritySettings
from plc_config.compile import compile_site
from tests.story import Story

EXAMPLES = int(os.environ.get("CELLWARDEN_EXAMPLES", "300"))
PROGRAM: Program = compile_site("bench").program
SYSTEM = Story("bench").input.system
MASTERS = (("scada", 1), ("scada", 2), ("panel", 2), ("engineer", 2))
ROLES = {"scada": Role.OPERATOR, "panel": Role.OPERATOR, "engineer": Role.ENGINEER}
SILENCE_MS = 10_000
KINDS = sorted(set(Kind) - {Kind.NONE})

asked = st.tuples(st.sampled_from(KINDS), st.sampled_from(MASTERS), st.booleans())
scans = st.lists(st.tuples(st.integers(0, 12_000), st.booleans(), st.lists(asked, max_size=4)), max_size=30)


def command(number: int, kind: Kind, master: tuple[str, int], observer: bool) -> Command:
    user, client = master
    role = Role.OBSERVER if observer else ROLES[user]
    return Command(number, kind, Origin.OPCUA, role, 0, 10**9, user=user, client=client, station=f"10.0.0.{client}")


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from(["on_request", "first_writer", "required"]), scans)
def test_one_has_control_and_everybody_may_stop(
    rule: str, story: list[tuple[int, bool, list[tuple[Kind, tuple[str, int], bool]]]]
) -> None:
    chosen = AuthoritySettings(rule, SILENCE_MS)
    memory: AuthorityMemory = PROGRAM.blank_memory().authority
    unheard_of_ms, number = 0, 0
    for elapsed_ms, unheard, wishes in story:
        commands = [command(number := number + 1, *wish) for wish in wishes]
        system = dataclasses.replace(SYSTEM, elapsed_ms=elapsed_ms, utc_ms=number + 1)
        before = memory.holder_digest
        passed, answers, _, memory = authorise(chosen, memory, unheard, system, commands)

        assert sorted([c.id for c in passed] + [a.command.id for a in answers]) == [c.id for c in commands], "each once"
        free = {c.id for c in commands if c.kind not in GOVERNED | {Kind.TAKE_CONTROL, Kind.RELEASE_CONTROL}}
        assert free <= {c.id for c in passed}, "nothing else needs control, stopping least of all"
        heard = before in {c.master_digest for c in commands}
        unheard_of_ms = 0 if heard or memory.holder_digest != before else unheard_of_ms + elapsed_ms
        if memory.holder_digest:
            assert unheard_of_ms < SILENCE_MS, "silence ends it"
        if memory.holder_digest != before and memory.holder_digest:
            mine = [c for c in commands if c.master_digest == memory.holder_digest and c.role >= Role.OPERATOR]
            assert mine, "nobody is given what he did not ask for"
            assert rule == "first_writer" or any(c.kind is Kind.TAKE_CONTROL for c in mine)
        if not any(a.command.kind in (Kind.TAKE_CONTROL, Kind.RELEASE_CONTROL) and a.accepted for a in answers):
            setters = {c.master_digest for c in passed if c.kind in GOVERNED - {Kind.HEARTBEAT}}
            if memory.holder_digest and before == memory.holder_digest:
                assert setters <= {before}, "only the holder sets power and connects"
            assert not (rule == "required" and setters - {before}), "and where it is required nobody else ever"
        shown = publish(chosen, memory)
        assert bool(shown.control_holder) == bool(memory.holder_digest) == bool(shown.control_since_utc_ms)
        assert 0 <= shown.control_lapse_ms <= SILENCE_MS
