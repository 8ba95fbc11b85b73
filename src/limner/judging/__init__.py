"""How good is a generator, what happened in its training, what is in a collection: measurements and their meaning."""
