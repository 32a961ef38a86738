"""All tests in random orders, many times: what depends on an order or on luck shows."""
