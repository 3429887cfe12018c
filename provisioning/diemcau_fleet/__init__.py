"""The fleet's tools at the centre: what answers, collects and enrols the kits."""
