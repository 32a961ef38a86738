"""Fully typed: ``py.typed``, and no Any in a public signature where a type can be written."""

from typing import Final

from twins.twin import MISSING, Twin

HINTS: Final = "test_every_parameter_and_every_return_has_a_hint_and_none_is_any"

TWINS: Final = (
    Twin(
        "is not marked as typed",
        "py.typed",
        MISSING,
        "test_guards.py",
        ("test_the_package_is_marked_as_typed",),
    ),
    Twin(
        "has an Any in a public signature",
        "_run.py",
        """
        -from typing import Final, NamedTuple, Self, cast, final
        +from typing import Any, Final, NamedTuple, Self, cast, final
        @@
        -    def progress(self, name: str, data: object = None) -> Awaitable[None]:
        +    def progress(self, name: str, data: Any = None) -> Awaitable[None]:
        """,
        "test_guards.py",
        (f"{HINTS}[Run.progress]",),
    ),
    Twin(
        "hides an Any within a public signature",
        "_handler.py",
        """
        -from typing import Final, Protocol, TypeAlias, TypeVar, final
        +from typing import Any, Final, Protocol, TypeAlias, TypeVar, final
        @@
                 message: Message,
                 *,
        -        metadata: Mapping[str, object] | None = None,
        +        metadata: Mapping[str, Any] | None = None,
        """,
        "test_guards.py",
        (f"{HINTS}[AgentMessageHandler.handle_message]",),
    ),
    Twin(
        "has a public parameter without a hint",
        "_endpoint.py",
        """
        -    async def drain(self, timeout: float | None = None) -> None:
        +    async def drain(self, timeout=None) -> None:
        """,
        "test_guards.py",
        (f"{HINTS}[Endpoint.drain]",),
    ),
    Twin(
        "names a private type in a public signature",
        "_handler.py",
        """
        -    def get_stats(self) -> HandlerStats:
        +    def get_stats(self) -> Statistics:
        """,
        "test_guards.py",
        ("test_every_type_in_a_public_signature_is_public_too",),
    ),
    Twin(
        "lets a public class be subclassed",
        "_handler.py",
        """
        -@final
         class AgentMessageHandler:
        """,
        "test_guards.py",
        (
            "test_a_concrete_public_class_is_final_unless_made_to_be_subclassed[AgentMessageHandler]",
        ),
    ),
)
