"""The kit with which hosts test their agents, handlers, transports and event logs.

Nothing of it is imported by the package itself.
"""

from agent_messaging.testing._loop import HangError, VirtualTimeLoop, run_virtual

__all__ = ["HangError", "VirtualTimeLoop", "run_virtual"]
