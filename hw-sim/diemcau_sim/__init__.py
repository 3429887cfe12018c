"""A simulated conference room, below the drivers' backend seam; never in the shipped package."""
