"""The method: pseudo identities, parsing, memory, losses."""
