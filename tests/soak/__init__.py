"""A soak over real sockets: many clients of one server, and what must hold afterwards."""
