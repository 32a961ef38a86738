"""What one connection was shown, held against what the log was told."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Final

from support.endpoint_witness import Witness
from support.frames import Json
from support.recount import TERMINAL

_EVENT: Final = {"type", "payload", "user_id", "thread_id", "run_id", "seq", "timestamp"}
_CONTROL: Final = {"type", "payload", "timestamp"}
_ANSWERS: Final = {"connection_established", "pong", "stopped", "resumed", "error_message"}


class Stream:
    """Reads the frames of one connection, and sees that each of them may come then.

    Args:
        user_id: whose connection it is.
        witness: knows the events of each run.

    Attributes:
        kinds: how many frames of each type there were.
        next: of each run that was begun to be shown, the event that is to come.
    """

    def __init__(self, user_id: str, witness: Witness) -> None:
        self.kinds: Final = Counter[str]()
        self.next: Final[dict[str, int]] = {}
        self._user_id = user_id
        self._witness = witness

    @property
    def answers(self) -> int:
        """How many frames answer a frame of the client, but for runs."""
        return sum(self.kinds[kind] for kind in _ANSWERS)

    def read(self, frames: Sequence[str]) -> None:
        """See that these may come one after the other, from the first on.

        Raises:
            AssertionError: one of them may not.
        """
        for text in frames:
            assert text.isascii(), f"not ASCII: {text}"
            frame: Json = json.loads(text)
            kind: str = frame["type"]
            assert self.kinds or kind in ("connection_established", "error_message"), frame
            self.kinds[kind] += 1
            if "run_id" in frame:
                self._read_event(frame)
            else:
                assert frame.keys() == _CONTROL, f"not a control frame: {frame}"
                assert kind in _ANSWERS or kind == "heartbeat", f"no answer: {frame}"
                if kind == "resumed":
                    for run in frame["payload"]["runs"]:
                        self._read_resumed(run)
                if kind == "stopped":
                    going_on = self.next.keys() & set(frame["payload"]["run_ids"])
                    assert not going_on, f"stopped before {going_on} had ended: {frame}"

    def _read_event(self, frame: Json) -> None:
        run_id: str = frame["run_id"]
        seq: int = frame["seq"]
        assert frame.keys() == _EVENT, f"not an event: {frame}"
        assert frame["user_id"] == self._user_id, f"another user's: {frame}"
        if self._witness.has_dropped(self._user_id, run_id):
            return
        history = self._witness.histories.get((self._user_id, run_id))
        assert history is not None, f"an event of a run that is not this user's: {frame}"
        expected = self.next.get(run_id, 1)
        assert seq == expected, f"event {expected} was to come, and not {frame}"
        assert seq <= len(history.events), f"not in the log: {frame}"
        event = history.events[seq - 1]
        logged = (event.type, json.loads(event.payload), history.thread_id)
        shown = (frame["type"], frame["payload"], frame["thread_id"])
        assert shown == logged, f"the log has {logged}, and not {frame}"
        self.next[run_id] = seq + 1
        if frame["type"] in TERMINAL:
            del self.next[run_id]  # from the first event on, if the client asks again

    def _read_resumed(self, run: Json) -> None:
        run_id, from_seq, to_seq = run["run_id"], run["from_seq"], run["to_seq"]
        if self._witness.has_dropped(self._user_id, run_id):
            return
        history = self._witness.histories.get((self._user_id, run_id))
        assert history is not None, f"a run that is not this user's: {run}"
        assert history.thread_id == run["thread_id"]
        assert 1 <= from_seq <= to_seq + 1 <= len(history.events) + 1, f"more than there is: {run}"
        expected = self.next.get(run_id, from_seq)
        assert from_seq == expected or run["evicted"], f"{expected} was to come, and not {run}"
        if run["status"] in ("completed", "failed", "cancelled") and from_seq > to_seq:
            self.next.pop(run_id, None)
        else:
            self.next[run_id] = from_seq
