"""The library behind real servers, talked to by a real client."""
