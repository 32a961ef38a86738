"""Frames to messages, and events to frames."""
