"""How a forward listens, dials, relays and tells of its clients."""
