"""The tables of the collector's file, for whoever reads them with a tool of their own.

What is missing is not stored but follows: the numbers from a stream's ``floor`` to the greatest that is known
which are in neither ``have`` nor ``lost``.
"""

SCHEMA: tuple[str, ...] = (
    """
    -- Each database that a point's spool has had; "place" orders them, oldest first.
    CREATE TABLE spool (
        id INTEGER PRIMARY KEY, point TEXT NOT NULL, uuid TEXT NOT NULL, place INTEGER NOT NULL,
        replaces TEXT, UNIQUE (point, uuid)
    );
    -- One row a document, as it came. Times are milliseconds since the epoch. time_ms: what the kit said;
    -- time_corrected_ms: when it was, NULL where the boot (yet) never had a true time.
    CREATE TABLE document (
        spool INTEGER NOT NULL REFERENCES spool, stream TEXT NOT NULL, seq INTEGER NOT NULL,
        session INTEGER NOT NULL, boot TEXT NOT NULL, mono_ms INTEGER NOT NULL, clock TEXT NOT NULL,
        time_ms INTEGER NOT NULL, time_corrected_ms INTEGER, arrived_ms INTEGER NOT NULL,
        kind TEXT, payload BLOB NOT NULL
    );
    CREATE UNIQUE INDEX document_once ON document (spool, stream, seq);
    CREATE INDEX document_order ON document (spool, session, mono_ms);
    CREATE INDEX document_uncorrected ON document (boot) WHERE time_corrected_ms IS NULL;
    -- What has come of a stream, as ranges with both ends, and from where on the rest is missed.
    CREATE TABLE stream (
        spool INTEGER NOT NULL, stream TEXT NOT NULL, floor INTEGER NOT NULL, PRIMARY KEY (spool, stream)
    ) WITHOUT ROWID;
    CREATE TABLE have (
        spool INTEGER NOT NULL, stream TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
        PRIMARY KEY (spool, stream, first)
    ) WITHOUT ROWID;
    -- What is known not to come, and why; what came all the same is in "have" too.
    CREATE TABLE lost (
        spool INTEGER NOT NULL, stream TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
        reason TEXT NOT NULL, PRIMARY KEY (spool, stream, first)
    ) WITHOUT ROWID;
    -- Each boot of a point, oldest first. offset_ms: from its monotonic clock to wall time, NULL until known;
    -- spool: the newest seen in it.
    CREATE TABLE boot (
        id INTEGER PRIMARY KEY, point TEXT NOT NULL, boot TEXT NOT NULL, offset_ms INTEGER,
        spool INTEGER REFERENCES spool, UNIQUE (point, boot)
    );
    -- The newest retained document of each kind ("lost": the newest Will).
    CREATE TABLE held (
        point TEXT NOT NULL, slot TEXT NOT NULL, boot TEXT NOT NULL, session INTEGER NOT NULL,
        mono_ms INTEGER NOT NULL, connection TEXT NOT NULL, valid_s INTEGER NOT NULL, time_ms INTEGER,
        arrived_ms INTEGER NOT NULL, live INTEGER NOT NULL, says TEXT NOT NULL, nonce TEXT,
        payload BLOB NOT NULL, PRIMARY KEY (point, slot)
    );
    -- Messages that are no documents, the newest.
    CREATE TABLE rejected (
        id INTEGER PRIMARY KEY AUTOINCREMENT, arrived_ms INTEGER NOT NULL, topic TEXT NOT NULL,
        reason TEXT NOT NULL, payload BLOB NOT NULL
    );
    """,
)
"""One script a version; ``PRAGMA user_version`` counts those that a file has had."""
