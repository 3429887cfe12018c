"""SQLite on the kit's card: events, telemetry, the command journal, and a few values by name.

:mod:`.spool` is the front end on the event loop, :mod:`.waiting` what memory holds for it, :mod:`.card` what
runs in the disk's thread, :mod:`.store` what a database holds and what goes first when there is no room,
:mod:`.tables` how it is laid out, :mod:`.file`, :mod:`.side` and :mod:`.wal` the files, :mod:`.inherited`
what a new spool takes over from a broken one.
"""

from .spool import BATCH, FLUSH_CONFERENCE_S, FLUSH_REST_S, MAX_BYTES, Spool
from .tables import SCHEMA, Drop, Record, Replaced
from .waiting import LIMIT as WAITING_LIMIT

__all__ = [
    "BATCH", "FLUSH_CONFERENCE_S", "FLUSH_REST_S", "MAX_BYTES", "SCHEMA", "WAITING_LIMIT", "Drop", "Record",
    "Replaced", "Spool",
]  # fmt: skip
