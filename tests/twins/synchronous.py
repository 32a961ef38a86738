"""Decisions are synchronous: plain functions, with the clock and the source of ids passed in."""

from typing import Final

from twins.twin import Twin

TWINS: Final = (
    Twin(
        "decides an event only when that is awaited",
        "_run.py",
        """
        -    def thinking(self, text: str) -> Awaitable[None]:
        +    async def thinking(self, text: str) -> None:
                 \"""Tell the user what the agent is about.\"""
        -        return self._emitter.emit_text(_THINKING, text)
        +        await self._emitter.emit_text(_THINKING, text)
        """,
        "test_run.py",
        (
            "test_emitting_is_when_the_method_is_called_and_not_when_it_is_awaited",
            "test_an_event_that_is_not_awaited_goes_out_all_the_same",
        ),
    ),
    Twin(
        "needs a loop to move the lifecycle",
        "_lifecycle.py",
        """
        +import asyncio
         from collections.abc import Mapping
        @@
        -        self._last = at
        +        self._last = asyncio.get_running_loop().time()
        """,
        "test_lifecycle.py",
        ("test_the_report_of_a_run_on_the_golden_path",),
    ),
    Twin(
        "has a clock of its own in the lifecycle",
        "_lifecycle.py",
        """
        +import time
         from collections.abc import Mapping
        @@
        -        self._last = at
        +        self._last = time.time()
        """,
        "test_lifecycle.py",
        ("test_the_report_of_a_run_on_the_golden_path",),
    ),
    Twin(
        "has a clock of its own for what is on the wire",
        "_emitter.py",
        """
        -        timestamp = clock.wall()
        +        timestamp = time.time()
        """,
        "test_handler.py",
        ("test_every_event_has_the_envelope_of_its_run",),
    ),
    Twin(
        "makes run ids of its own",
        "_handler.py",
        """
        -            run_id=made_id(self._new_id),
        +            run_id=made_id(new_id),
        """,
        "test_handler.py",
        ("test_ids_come_from_the_hosts_source_if_it_gives_one",),
    ),
)
