"""A kit's card: what its boot partition is given so that its first boot makes a kit, without a network."""
