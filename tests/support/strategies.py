"""Hypothesis strategies for our own tests, beside the public ones."""

from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from agent_messaging import Message, MessageType
from agent_messaging.testing.strategies import ids, json_values, messages

#: Tests know no wall clock: a slow machine is no failure.
patient: Final = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

#: Any text at all, lone surrogates included.
any_texts: st.SearchStrategy[str] = st.text(st.characters(exclude_categories=[]))

payloads: st.SearchStrategy[dict[str, object]] = st.dictionaries(
    st.text(max_size=20), json_values(), max_size=4
)

#: Messages of any type, in or out or a host's own, and of any user; many of them are refused.
any_messages: st.SearchStrategy[Message] = st.one_of(
    messages(),
    st.builds(
        Message,
        type=st.sampled_from(MessageType) | ids(),
        payload=payloads,
        thread_id=st.none() | ids(),
        user_id=st.none() | ids(),
    ),
)
