"""The scan: the stages in the order an engineer would draw them."""

from __future__ import annotations

from controller.core.annunciate import annunciate
from controller.core.authority import authorise, publish
from controller.core.balance import balance
from controller.core.command import OWNER, Answer, Command, Origin
from controller.core.compose import compose
from controller.core.dispatch import dispatch, hand_over
from controller.core.event import Event, What
from controller.core.extremes import doubted
from controller.core.frozen import replace
from controller.core.image import InputImage, Modes, ProcessImage, RackMode, SiteMode
from controller.core.memory import Memory
from controller.core.program import Program
from controller.core.protect import Facts, limit_power, protect, standing_still
from controller.core.sequence import sequence
from controller.core.topology import place_name
from controller.core.validate import validate


def scan(program: Program, memory: Memory, inputs: InputImage) -> tuple[Memory, ProcessImage, list[Event]]:
    """One scan. The same program, memory and inputs give the same image, today and in replay."""
    memory, image, events = react(program, memory, inputs)
    return reflect(program, memory, image), image, events


def react(program: Program, memory: Memory, inputs: InputImage) -> tuple[Memory, ProcessImage, list[Event]]:
    """From the inputs to the outputs, on what the scans before have learnt about the battery."""
    system = inputs.system
    commands, answers, seen = admit(memory, inputs)
    requests, unheard = memory.dispatching, program.dispatch.silent(memory.dispatching)
    commands, told, changes, authority = authorise(program.authority, memory.authority, unheard, system, commands)
    answers += told
    if authority.holder_digest != memory.authority.holder_digest:
        requests = hand_over(program.dispatch, requests, authority.holder_digest in (0, memory.authority.beater))
    measured, validation = validate(program.sensors, memory.validation, inputs)
    watching, _ = program.watch.heed(memory.watching, measured.points, system.elapsed_ms)
    estimates, warnings = program.estimator.publish(memory.estimation), program.watch.publish(watching)
    facts = Facts(
        program.topology, measured, estimates, warnings, program.limit, memory.modes, memory.outputs,
        requests, inputs.links, system, program.dispatch.settings.heartbeat_timeout_ms,
        program.sequences.settings.precharge_attempts, memory.protection.trend,
    )  # fmt: skip
    trips, told, protection = protect(program.matrix, memory.protection, facts, commands)
    answers += told
    limits = limit_power(program.derating, measured, trips, memory.modes)
    modes, told, sequencing = sequence(
        program.sequences, memory.sequencing, memory.modes, measured, trips, system, commands
    )
    answers += told
    astray = program.matrix.astray(trips.slot_active)
    power, told, dispatching = dispatch(
        program.dispatch, requests, limits, modes, memory.outputs, system, commands, astray
    )
    answers += told
    bleeds, balancing = balance(program.balancing, memory.balancing, measured, estimates, trips, modes, system)
    alarms, told, events, annunciation = annunciate(program.alarms, memory.annunciation, trips, system, commands)
    answers += told
    outputs = compose(trips, limits, modes, power, bleeds, alarms, program.matrix.priority, program.topology, system)

    events = [tell(a) for a in answers] + changes + mode_events(program, memory.modes, modes) + events
    control = publish(program.authority, authority)
    cells, sensors = standing_still(protection.trend, warnings)
    measured = replace(measured, extremes=doubted(measured.extremes, cells, sensors))
    image = ProcessImage(system, measured, estimates, warnings, limits, trips, modes, power, control, alarms, outputs)
    memory = Memory(
        validation,
        memory.estimation,
        watching,
        protection,
        sequencing,
        dispatching,
        authority,
        balancing,
        annunciation,
        modes,
        outputs,
        *seen,
    )
    return memory, image, events


def reflect(program: Program, memory: Memory, image: ProcessImage) -> Memory:
    """What this scan's measurements teach, once its outputs are on their way: the estimates of the next scan."""
    elapsed_ms = image.system.elapsed_ms
    estimation = program.estimator.step(memory.estimation, image.measured, image.outputs, elapsed_ms)
    watching, _ = program.watch.look(memory.watching, image.measured.points, estimation, elapsed_ms)
    return replace(memory, estimation=estimation, watching=watching)


def admit(memory: Memory, inputs: InputImage) -> tuple[list[Command], list[Answer], tuple[int, int]]:
    """The commands that the stages may see, the refusals of the others, and the highest ids seen per origin."""
    last = {Origin.OPCUA: memory.last_opcua_command, Origin.SUPERVISOR: memory.last_supervisor_command}
    good: list[Command] = []
    refused: list[Answer] = []
    for command in inputs.commands:
        if command.id <= last[command.origin]:
            refused.append(Answer(command, False, "this command was already judged"))
            continue
        last[command.origin] = command.id
        if inputs.system.now_ms > command.expires_ms:
            refused.append(Answer(command, False, "expired before it was judged"))
        elif command.kind not in OWNER:
            refused.append(Answer(command, False, "unknown command"))
        else:
            good.append(command)
    return good, refused, (last[Origin.OPCUA], last[Origin.SUPERVISOR])


def tell(answer: Answer) -> Event:
    """An answer as an event: `new` carries the value (a token or the setpoint)."""
    c = answer.command
    return Event(
        What.ANSWER,
        old=c.value,
        new=answer.value,
        slot=c.target,
        command=c.id,
        kind=int(c.kind),
        origin=int(c.origin),
        accepted=answer.accepted,
        user=c.user,
        place=c.kind.name.lower(),
        text=answer.reason if not c.text else f"{answer.reason} ({c.text})",
    )


def mode_events(program: Program, old: Modes, new: Modes) -> list[Event]:
    """One event per mode that changed."""
    events = []
    if old.site_mode != new.site_mode:
        why = program.reasons[new.site_reason]
        text = f"{SiteMode(old.site_mode).name} -> {SiteMode(new.site_mode).name}: {why}"
        events.append(Event(What.SITE_MODE, old.site_mode, new.site_mode, place="site", text=text))
    for r in (old.rack_mode != new.rack_mode).nonzero()[0]:
        before, after = RackMode(int(old.rack_mode[r])), RackMode(int(new.rack_mode[r]))
        text = f"{before.name} -> {after.name}: {program.reasons[int(new.rack_reason[r])]}"
        events.append(Event(What.RACK_MODE, int(before), int(after), place=place_name(("rack",), (int(r),)), text=text))
    return events
