"""How a connection fails, or ends.

::

    ConnectionLost             the connection ended; whatever was not acknowledged is not delivered
    ConnectFailed
    ├── NotEnrolled            our certificate is not there yet
    ├── LineDown               no route, no name, no answer
    └── Refused                the broker answered, and said no (``reason``)
"""

from __future__ import annotations


class ConnectionLost(Exception):
    pass


class ConnectFailed(Exception):
    pass


class NotEnrolled(ConnectFailed):
    pass


class LineDown(ConnectFailed):
    pass


class Refused(ConnectFailed):
    pass
