"""Reading what a transport accepted; nothing of the package is used here."""

import json
from collections.abc import Iterable
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]


def decoded(frames: Iterable[str]) -> list[Json]:
    """The frames as dictionaries, in their order."""
    return [json.loads(frame) for frame in frames]


def runs_of(frames: Iterable[str]) -> dict[str, list[Json]]:
    """The run events among the frames, by run id, in their order."""
    runs: dict[str, list[Json]] = {}
    for frame in decoded(frames):
        if "run_id" in frame:
            runs.setdefault(frame["run_id"], []).append(frame)
    return runs
