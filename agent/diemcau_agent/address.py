"""Where a broker is, and how to be sure that it is the right one."""

from __future__ import annotations

import errno
import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

_PORTS = {"mqtt": 1883, "mqtts": 8883, "wss": 443}


class Address(msgspec.Struct, frozen=True):
    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """``mqtts://host[:port]`` or ``wss://host[:port][/path]``; the default port is the scheme's."""
        parts = urlsplit(url)
        return cls(
            parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme], parts.path or "/mqtt"
        )

    @property
    def secure(self) -> bool:
        """TLS, bare or below a WebSocket."""
        return self.scheme != "mqtt"


class Tls(msgspec.Struct, frozen=True):
    ca_file: str | None
    cert_file: str | None
    key_file: str | None

    def context(self) -> ssl.SSLContext:
        """From the files as they are now. Raises FileNotFoundError, which names the first that is not there,
        OSError, ValueError."""
        for name in (self.ca_file, self.cert_file, self.key_file):
            if name is not None and not Path(name).exists():  # ssl does not say which
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        context = ssl.create_default_context(cafile=self.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context
