"""Event logs with one fault each, which the conformance suite is to find."""
