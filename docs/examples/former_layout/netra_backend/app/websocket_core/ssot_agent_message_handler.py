"""The former module: every name that was imported from it is the one handler."""

from agent_messaging.compat import AgentHandler, AgentMessageHandler, SSotAgentMessageHandler

__all__ = ["AgentHandler", "AgentMessageHandler", "SSotAgentMessageHandler"]
