"""The operator's hand: signed commands, conferences, and the notices that are published to all."""
