"""The sweep: host after host on one file, each killed at a phase, and what its clients do."""

import asyncio
import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from random import Random
from typing import Final, final

from kill.inspection import look, look_at_ends
from kill.ledger import Claim, Client, Ledger, Sent
from kill.points import PHASES, POINTS, Behaviour, Phase, Point
from kill.process import Host, Terms, hosting
from support import Json

#: Two devices each.
USERS: Final = ("ada", "grace", "mary")
#: Threads of a user in which messages meet others.
_THREADS: Final = 3
#: What agents do for most messages: they end by themselves.
_BUSY: Final[tuple[Behaviour, ...]] = ("talks", "works", "fails")
#: Of a plan every phase has one, and the one without a point all that is left.
_SHARES: Final = len(POINTS) + 2
#: Where a host is held before anything is asked of it.
_AT_START: Final[tuple[Phase, ...]] = ("starting", "recovering")
#: How often a message may pass a point before it is held there.
_PASSES: Final[dict[Phase, int]] = {"in a tool": 2, "sending": 3}
#: Seconds: about as long as a host is busy with what it was sent, or with one thing.
_WHILE: Final = 0.15
_MOMENT: Final = 0.01
#: More than there are in the time of a lease.
_RENEWALS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How long a sweep is, and what decides what it does.

    Attributes:
        kills: how many.
        seed: of what is done; what becomes of that is the machine's to say.
        patience: seconds for one thing to happen.
        phases: where hosts are killed.
    """

    kills: int
    seed: int
    patience: float = 20.0
    phases: Sequence[Phase] = PHASES


@dataclass(frozen=True, slots=True)
class Verdict:
    """Something that must hold, and what spoke against it."""

    claim: Claim
    faults: Sequence[str]


@final
class Sweep:
    """One sweep; it ends early where something is wrong.

    Attributes:
        ledger: what all saw.
        planned: the phase of each kill.
    """

    def __init__(self, terms: Terms, scale: Scale, progress: Callable[[str], None]) -> None:
        self.ledger: Final = Ledger()
        self.clients: Final = [
            Client(f"{user}.{device}", user, self.ledger) for user in USERS for device in (1, 2)
        ]
        self._terms = terms
        self._scale = scale
        self._progress = progress
        self._random = Random(scale.seed)
        self.planned: Final = self._plan()
        #: The open lines; a frame for one that was closed is lost.
        self._lines: dict[int, Client] = {}
        self._last_line = 0
        self._last_message = 0
        #: The open lines whose frames are lost, which nobody knows yet.
        self._lost: set[int] = set()

    def _plan(self) -> list[Phase]:
        scale = self._scale
        share = max(1, scale.kills // _SHARES)
        plan: list[Phase] = []
        for phase in scale.phases:
            plan.extend(repeat(phase, share))
        self._random.shuffle(plan)
        rest: Phase = "anywhere" if "anywhere" in scale.phases else plan[0]
        plan.extend(repeat(rest, scale.kills - len(plan)))
        plan = plan[: scale.kills]
        self._random.shuffle(plan)
        # The first hosts that begin nothing would leave nothing to those behind them.
        first = next((at for at, phase in enumerate(plan) if phase not in _AT_START), 0)
        plan[0], plan[first] = plan[first], plan[0]
        return plan

    async def run(self) -> list[Verdict]:
        """Kill, restart, and look; then once more, without a kill."""
        for number, phase in enumerate(self.planned):
            await self._live(phase)
            if self.ledger.faults:
                break
            if (number + 1) % 10 == 0:
                self._tell(number + 1)
        else:
            await self._live(None)
            if not self.ledger.faults:
                await look(self._terms, self.ledger, self.clients)
                await look_at_ends(self._terms, self.ledger, self.clients)
        return self._verdicts()

    def _tell(self, number: int) -> None:
        counts = self.ledger.counts
        self._progress(
            f"{number} of {self._scale.kills} kills: {len(self.ledger.runs)} runs, "
            f"{counts['frames']} frames, {counts['recovered']} recovered"
        )

    # One host's life.

    async def _live(self, phase: Phase | None) -> None:
        ledger, rng = self.ledger, self._random
        ledger.life += 1
        ledger.places.clear()
        self._lines.clear()
        self._lost.clear()
        hold = phase if phase in _AT_START else None
        passes = rng.randint(0, 1) if hold == "starting" else 0
        async with hosting(self._terms, self._hear, hold=hold, passes=passes) as host:
            try:
                if phase == "starting":
                    await self._kill(host, phase)
                    return
                if not await self._until(host, lambda: host.is_ready):
                    ledger.fault(Claim.HOST, "it does not come to be ready")
                    return
                if ledger.life == 1:
                    self._progress(f"the first host is process {host.process_id}")
                await look(self._terms, ledger, self.clients)
                if ledger.faults:
                    return
                # Otherwise what the one before has left meets the next kill too.
                is_patient = phase is None or (phase != "recovering" and rng.random() < 0.7)
                await self._connect(host, settles=is_patient)
                if is_patient:
                    await self._settle(host)
                if phase is not None:
                    await self._converse(host, phase)
                    await self._kill(host, phase)
                elif code := await host.end(self._scale.patience):
                    ledger.fault(Claim.HOST, f"it ended with {code}")
            finally:
                if errors := host.errors():
                    ledger.fault(Claim.HOST, errors)

    def _hear(self, line: Json) -> None:
        """One line of the host."""
        if "frame" not in line:
            self.ledger.told(line)
        elif line["line"] in self._lines.keys() - self._lost:
            self._lines[line["line"]].takes(line["frame"])
        else:
            self.ledger.counts["frames lost"] += 1

    async def _until(self, host: Host, is_so: Callable[[], bool]) -> bool:
        """Wait for something; what the clients are made to send meanwhile is sent."""

        def look_and_react() -> bool:
            for number, client in self._lines.items():
                for frame in client.reactions:
                    host.say(line=number, frame=frame)
                client.reactions.clear()
            return is_so()

        return await host.until(look_and_react, self._scale.patience)

    async def _kill(self, host: Host, phase: Phase) -> None:
        """Kill it, when it is where it is to be."""
        ledger, rng = self.ledger, self._random
        if phase == "anywhere":
            # Not to see anything, but so that the signal comes at any moment.
            await asyncio.sleep(rng.uniform(0.0, _MOMENT if host.held else _WHILE))
            ledger.kills[phase] += 1
        elif await self._until(host, lambda: host.held == phase):
            ledger.kills[phase] += 1
            ledger.struck[phase] += phase != "starting"
        else:
            ledger.fault(Claim.REACHED, f"{phase} was not reached")
        # What a dead host has sent may still arrive, or not.
        if rng.random() < 0.5:
            self._lost.update(self._lines)
        code = await host.kill()
        if code != -signal.SIGKILL:
            ledger.fault(Claim.HOST, f"it had ended with {code}")
        for place in ledger.under_way().values():
            if place != phase:
                ledger.struck[place] += 1

    # What clients do.

    async def _connect(self, host: Host, *, settles: bool) -> None:
        """All clients come back: they resume what has not ended, and send again what they must."""
        for client in self.clients:
            client.stops_all = settles
            self._open(host, client)
            thread_id: str | None = None
            # A retry brings back what a RESUME of its thread brings back too.
            if not client.unknown and self._random.random() < 0.3:
                thread_id = self._random.choice(self._threads(client.user_id))
            frames = [client.resumes(thread_id), *map(client.sends, client.unknown)]
            self._random.shuffle(frames)
            # Behind the RESUME: else STOPPED need not wait for events that are not watched yet.
            frames += [client.stops(run) for run in client.unended if self._random.random() < 0.2]
            for frame in frames:
                self._say(host, client, frame)

    def _open(self, host: Host, client: Client) -> None:
        client.connects()
        self._last_line += 1
        self._lines[self._last_line] = client
        host.say(line=self._last_line, open=client.user_id)

    def _say(self, host: Host, client: Client, frame: str | None) -> None:
        if frame is not None:
            host.say(line=self._line_of(client), frame=frame)

    def _line_of(self, client: Client) -> int:
        return next(number for number, other in self._lines.items() if other is client)

    def _reload(self, host: Host, client: Client) -> None:
        """A client loses its connection, and has another one at once."""
        number = self._line_of(client)
        del self._lines[number]
        host.say(close=number)
        self.ledger.counts["reloads"] += 1
        self._open(host, client)
        for frame in (client.resumes(), *map(client.sends, client.unknown)):
            self._say(host, client, frame)

    async def _settle(self, host: Host) -> None:
        """See all that was begun to its end, and compare."""
        if not await self._until(host, lambda: all(c.is_settled for c in self.clients)):
            for client in self.clients:
                if not client.is_settled:
                    client.fault(Claim.UNSETTLED, client.open_ends())
            return
        await look_at_ends(self._terms, self.ledger, self.clients)

    def _threads(self, user_id: str) -> list[str]:
        return list(self.ledger.threads.get(user_id, {"thread-0": None}))

    def _compose(
        self, client: Client, behaviour: Behaviour, thread_id: str | None, *, stops: bool = False
    ) -> Sent:
        """A message of a client; in a thread of its own if none is named."""
        self._last_message += 1
        message_id = f"message-{self._last_message}"
        thread_id = thread_id or f"of-{message_id}"
        self.ledger.threads.setdefault(client.user_id, {})[thread_id] = None
        self.ledger.counts["messages"] += 1
        frame = {
            "type": "start_agent",
            "payload": {"user_request": behaviour},
            "message_id": message_id,
            "thread_id": thread_id,
        }
        return Sent(message_id, json.dumps(frame), behaviour, thread_id, stops)

    async def _wait_in_a_tool(self, host: Host, client: Client) -> Sent:
        """A message whose agent waits, once it does."""
        sent = self._compose(client, "waits", None)
        self._say(host, client, client.sends(sent))
        places = self.ledger.places
        if not await self._until(host, lambda: places.get(sent.message_id) == "in a tool"):
            self.ledger.fault(Claim.REACHED, f"{sent} does not wait")
        return sent

    async def _outlive_leases(self, host: Host) -> None:
        """Let the host live for longer than its leases last."""
        counts = self.ledger.counts
        enough = counts["renewals"] + _RENEWALS
        if not await self._until(host, lambda: counts["renewals"] >= enough):
            self.ledger.fault(Claim.LEASES, "they are not renewed")

    async def _converse(self, host: Host, phase: Phase) -> None:
        """Messages of several clients, and the one that is held where the host is to be killed."""
        rng = self._random
        for client in self.clients:
            client.stops_all = False
        # Whatever else becomes of it, the host leaves this to the next one.
        await self._wait_in_a_tool(host, rng.choice(self.clients))
        if rng.random() < 0.2:
            await self._outlive_leases(host)
        if rng.random() < 0.3:
            self._lost.add(self._line_of(rng.choice(self.clients)))
        for client in rng.sample(self.clients, 3):
            for _ in range(rng.randint(1, 2)):
                thread_id = f"thread-{rng.randrange(_THREADS)}"
                sent = self._compose(client, rng.choice(_BUSY), thread_id)
                self._say(host, client, client.sends(sent))
        first = rng.randrange(0, len(self.clients), 2)
        copied = self._compose(self.clients[first], rng.choice(_BUSY), None)
        for client in self.clients[first : first + 2]:
            copy = Sent(copied.message_id, copied.frame, copied.behaviour, copied.thread_id, False)
            self._say(host, client, client.sends(copy))
        if rng.random() < 0.3:
            client = rng.choice(self.clients)
            to_stop = self._compose(client, "waits", None, stops=True)
            self._say(host, client, client.sends(to_stop))
        if rng.random() < 0.3:
            self._reload(host, rng.choice(self.clients))
        if phase == "recovering":
            return
        point: Phase = phase
        if phase == "anywhere" and rng.random() < 0.5:
            point = rng.choice([each for each in POINTS if each not in _AT_START])
        if point != "anywhere":
            await self._bring_to(host, point)
        if phase == "anywhere" and point != "anywhere":
            await self._until(host, lambda: host.held == point)
            host.say(go_on=True)

    async def _bring_to(self, host: Host, point: Point) -> None:
        """Send a message, and have it held at a point, or whoever comes there first."""
        rng = self._random
        # It may have to see something before the message comes there.
        client = rng.choice([c for c in self.clients if self._line_of(c) not in self._lost])
        thread_id: str | None = None
        behaviour: Behaviour = rng.choice(_BUSY)
        if point == "queued":
            thread_id = (await self._wait_in_a_tool(host, client)).thread_id
        elif point == "in a tool":
            behaviour = "works"
        elif point == "stopping":
            behaviour = "waits"
        sent = self._compose(client, behaviour, thread_id, stops=point == "stopping")
        # In a transaction may be several, of which it cannot be told whose it is.
        is_anybody = point in ("claiming", "committing")
        host.say(
            hold=point,
            message_id=None if is_anybody else sent.message_id,
            passes=rng.randint(0, _PASSES.get(point, 0)),
        )
        self._say(host, client, client.sends(sent))

    # What it comes to.

    def _verdicts(self) -> list[Verdict]:
        ledger = self.ledger
        for life, run_id in ledger.interrupted_alive:
            if life not in ledger.stalls:
                ledger.fault(Claim.LEASES, f"{run_id} of life {life} was interrupted")
        for phase in set(self.planned):
            missing = self.planned.count(phase) - ledger.kills[phase]
            if missing and not ledger.faults:
                ledger.fault(Claim.REACHED, f"{phase} lacks {missing} kills")
        return [Verdict(claim, ledger.faults.get(claim, [])) for claim in Claim]
