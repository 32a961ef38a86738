"""One canonical handler: every other name of it is the same object, never a copy."""

from typing import Final

from twins.twin import Twin

TWINS: Final = (
    Twin(
        "gives a subclass the handlers former name",
        "compat.py",
        """
        -AgentHandler = AgentMessageHandler
        +AgentHandler = type("AgentHandler", (AgentMessageHandler,), {})
        """,
        "test_compat.py",
        (
            "test_every_former_name_is_the_canonical_object",
            "test_a_package_laid_out_like_the_former_one_resolves_every_import_to_the_one_class",
        ),
    ),
    Twin(
        "gives a subclass the messages former name",
        "compat.py",
        """
        -WebSocketMessage = Message
        +WebSocketMessage = type("WebSocketMessage", (Message,), {})
        """,
        "test_compat.py",
        ("test_every_former_name_is_the_canonical_object",),
    ),
    Twin(
        "has a second implementation of a step",
        "_handler.py",
        """
        -    _update_ssot_processing_stats = _count
        +    def _update_ssot_processing_stats(self, message_type: str) -> None:
        +        self._statistics.processed(message_type, self._clock.wall())
        """,
        "test_handler.py",
        (
            "test_a_former_step_name_is_a_second_name_of_a_real_step",
            "test_every_message_takes_the_steps_that_have_a_former_name",
        ),
    ),
    Twin(
        "says of itself that it is another",
        "_handler.py",
        """
        -            "handler_type": "SSOT_CANONICAL",
        +            "handler_type": type(self).__name__,
        """,
        "test_handler_statistics.py",
        ("test_get_stats_says_what_the_handler_is_beside_its_counters",),
    ),
)
