"""What was done to this room from afar, as a chain of hashes on its own card (docs/audit.md)."""
