"""``python -m diemcau_agent``: the same as ``diemcau-agent``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
