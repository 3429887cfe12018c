"""picamera2 imports it for its previews, which no kit shows; on Raspberry Pi OS it comes from apt."""


class _Any(type):
    def __getattr__(cls, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)


class PixelFormat(metaclass=_Any):
    """Every format has a name, and none is ever shown."""
