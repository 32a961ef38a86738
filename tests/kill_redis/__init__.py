"""Workers over one Redis that are killed, frozen and lose their server, and what must hold then."""
