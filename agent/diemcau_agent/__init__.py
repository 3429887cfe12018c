"""The daemon: asyncio, small, no numpy, no device library."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("diemcau")
except PackageNotFoundError:  # run from a tree that was never installed
    __version__ = "0+unknown"
