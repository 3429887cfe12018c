"""SQLite on the kit's card: events, telemetry, the command journal, and a few values by name.

:mod:`.spool` is the front end on the event loop, :mod:`.card` what runs in the disk's thread, :mod:`.store`
what a database holds and what goes first when there is no room, :mod:`.tables` how it is laid out,
:mod:`.file` and :mod:`.side` the files, :mod:`.inherited` what a new spool takes over from a broken one.
"""

from .spool import BATCH, FLUSH_CONFERENCE_S, FLUSH_REST_S, MAX_BYTES, WAITING_LIMIT, Spool
from .tables import SCHEMA, Drop, Record, Replaced

__all__ = [
    "BATCH", "FLUSH_CONFERENCE_S", "FLUSH_REST_S", "MAX_BYTES", "SCHEMA", "WAITING_LIMIT", "Drop", "Record",
    "Replaced", "Spool",
]  # fmt: skip
