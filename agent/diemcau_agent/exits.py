"""The exit codes of ``diemcau-agent``."""

OK = 0
"""Ready, passed, or done."""
NOT = 1
USAGE = 2
"""Wrong usage or settings: trying again changes nothing."""
NO_AGENT = 3
"""No agent is running here."""
