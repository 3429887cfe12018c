"""The daemon: asyncio, small, no numpy, no device library."""

__version__ = "0.1.0"
"""The one place: the package's metadata is built from it. Reading it back would cost the daemon 1 MB."""
