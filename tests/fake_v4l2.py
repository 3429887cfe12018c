"""A V4L2 camera below the system call: linuxpy's own structs go in and come out, linuxpy itself is real.

The device node is a plain file, which linuxpy maps as it would the driver's buffers. Behaviour as in the
kernel's V4L2 specification, of what a UVC camera does.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeVar, cast

from linuxpy.video import raw

PAGE_BYTES = 4096
T = TypeVar("T")
fourcc_code = cast("Callable[..., int]", cast("Any", raw).v4l2_fourcc)


@dataclass
class FakeControl:
    id: int
    name: bytes
    minimum: int
    maximum: int
    step: int
    value: int


@dataclass
class FakeV4l2:
    """``formats``: fourcc -> sizes. ``frame``: what comes next. ``fails``: ioctl name -> errno."""

    node: Path
    formats: dict[str, list[tuple[int, int]]]
    frame: Callable[[int], bytes]
    quantization: int = 0
    colorspace: int = 0
    padding_bytes: int = 0
    period_s: float = 1 / 30
    controls: list[FakeControl] = field(default_factory=list[FakeControl])
    fails: dict[str, int] = field(default_factory=dict[str, int])
    streaming: bool = False
    calls: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self._format = (next(iter(self.formats)), *next(iter(self.formats.values()))[0])
        self._queued: list[int] = []
        self._sequence: Iterator[int] = count()

    @property
    def size_bytes(self) -> int:
        fourcc, width, height = self._format
        stride = width * (2 if fourcc == "YUYV" else 1) + self.padding_bytes
        return stride * height * (3 if fourcc == "NV12" else 2) // 2

    def ioctl(self, fd: object, request: raw.IOC, *args: Any) -> Any:
        name = raw.IOC(request).name
        self.calls.append(name)
        if name in self.fails:
            raise OSError(self.fails[name], f"{name} refused")
        answer = getattr(self, f"_{name.lower()}", None)
        if answer is None:
            raise OSError(errno.ENOTTY, f"{name} is not in this driver")
        answer(*args)
        return args[0] if args else None

    def _querycap(self, cap: Any) -> None:
        cap.driver, cap.card = b"uvcvideo", b"Fake camera"
        cap.capabilities = cap.device_caps = raw.Capability.VIDEO_CAPTURE | raw.Capability.STREAMING

    def _enum_fmt(self, entry: Any) -> None:
        fourcc = self._nth(list(self.formats), entry.index)
        entry.pixelformat, entry.description = fourcc_code(*fourcc), fourcc.encode()

    def _enum_framesizes(self, entry: Any) -> None:
        fourcc = next(name for name in self.formats if fourcc_code(*name) == entry.pixel_format)
        width, height = self._nth(self.formats[fourcc], entry.index)
        entry.type = raw.Frmsizetypes.DISCRETE
        entry.discrete.width, entry.discrete.height = width, height

    def _s_fmt(self, form: Any) -> None:
        pix = form.fmt.pix
        fourcc = next(name for name in self.formats if fourcc_code(*name) == pix.pixelformat)
        self._format = (fourcc, pix.width, pix.height)
        self._g_fmt(form)

    def _g_fmt(self, form: Any) -> None:
        fourcc, width, height = self._format
        pix = form.fmt.pix
        pix.pixelformat, pix.width, pix.height = fourcc_code(*fourcc), width, height
        pix.bytesperline = (
            0 if fourcc == "MJPG" else width * (2 if fourcc == "YUYV" else 1) + self.padding_bytes
        )
        pix.sizeimage, pix.quantization, pix.colorspace = self.size_bytes, self.quantization, self.colorspace

    def _reqbufs(self, request: Any) -> None:
        length = -(-self.size_bytes // PAGE_BYTES) * PAGE_BYTES
        with self.node.open("wb") as memory:
            memory.truncate(length * max(1, request.count))

    def _querybuf(self, buffer: Any) -> None:
        buffer.length = -(-self.size_bytes // PAGE_BYTES) * PAGE_BYTES
        buffer.m.offset = buffer.index * buffer.length

    def _qbuf(self, buffer: Any) -> None:
        self._queued.append(buffer.index)

    def _dqbuf(self, buffer: Any) -> None:
        if not self.streaming:
            raise OSError(errno.EINVAL, "not streaming")
        sequence = next(self._sequence)
        data = self.frame(sequence)
        buffer.index = self._queued.pop(0)
        self._querybuf(buffer)
        with self.node.open("r+b") as memory:
            memory.seek(buffer.m.offset)
            memory.write(data)
        buffer.bytesused, buffer.sequence = len(data), sequence
        buffer.timestamp.set_ns(1_000_000_000 + round(sequence * self.period_s * 1e9))

    def _streamon(self, kind: Any) -> None:
        self.streaming = True

    def _streamoff(self, kind: Any) -> None:
        self.streaming, self._queued = False, []

    def _query_ext_ctrl(self, query: Any) -> None:
        after = query.id & 0x0FFFFFFF
        control = self._nth([one for one in self.controls if one.id > after], 0)
        query.id, query.name, query.type = control.id, control.name, raw.CtrlType.INTEGER
        query.minimum, query.maximum, query.step = control.minimum, control.maximum, control.step
        query.flags, query.elem_size, query.elems = 0, 4, 1

    def _g_ext_ctrls(self, wanted: Any) -> None:
        for index in range(wanted.count):
            wanted.controls[index].value = self._control(wanted.controls[index].id).value

    def _s_ext_ctrls(self, wanted: Any) -> None:
        for index in range(wanted.count):
            self._control(wanted.controls[index].id).value = wanted.controls[index].value

    def _control(self, control_id: int) -> FakeControl:
        return next(one for one in self.controls if one.id == control_id)

    @staticmethod
    def _nth(items: list[T], index: int) -> T:
        if index >= len(items):
            raise OSError(errno.EINVAL, "no more")
        return items[index]
