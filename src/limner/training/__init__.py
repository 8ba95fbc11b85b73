"""How a generator learns."""
