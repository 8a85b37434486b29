"""Data: the pair schema, one builder per source, archives read in place, verification and export."""
