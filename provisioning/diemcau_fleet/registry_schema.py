"""The registry's tables; one script a version. Times are seconds since the epoch, keys base64url."""

from __future__ import annotations

SCHEMA = (
    """
    -- Every id that was ever given: a certificate's CN, an MQTT client id, the iss of a command. An id stays
    -- of its kind (kit, service, operator, server) for ever.
    CREATE TABLE member (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, added_s INTEGER NOT NULL, revoked_s INTEGER
    ) STRICT;
    CREATE TABLE kit (id TEXT PRIMARY KEY REFERENCES member, groups TEXT NOT NULL, via TEXT) STRICT;
    -- The newest one-time token of a kit. Once used it names the certificate that was issued for it, and the
    -- key that this one is of (SHA-256 of its SubjectPublicKeyInfo).
    CREATE TABLE token (
        id TEXT PRIMARY KEY REFERENCES kit, sha256 BLOB NOT NULL, expires_s INTEGER NOT NULL,
        serial TEXT REFERENCES certificate, key_sha256 BLOB
    ) STRICT;
    -- Who has a certificate for the broker besides the kits: services, and operators with one of their own.
    CREATE TABLE service (id TEXT PRIMARY KEY REFERENCES member, role TEXT NOT NULL) STRICT;
    -- Whose signature a kit obeys. A key has one id, for ever.
    CREATE TABLE operator (
        id TEXT PRIMARY KEY REFERENCES member, role TEXT NOT NULL, public TEXT NOT NULL UNIQUE,
        points TEXT NOT NULL
    ) STRICT;
    CREATE TABLE certificate (
        serial TEXT PRIMARY KEY, id TEXT NOT NULL REFERENCES member, not_before_s INTEGER NOT NULL,
        not_after_s INTEGER NOT NULL, revoked_s INTEGER, der BLOB NOT NULL
    ) STRICT;
    CREATE INDEX certificate_of ON certificate (id);
    CREATE INDEX certificate_revoked ON certificate (not_after_s) WHERE revoked_s IS NOT NULL;
    -- state: 'signs' the lists now; 'next' is named by them and will sign; 'gone'.
    CREATE TABLE fleet_key (public TEXT PRIMARY KEY, state TEXT NOT NULL, since_s INTEGER NOT NULL) STRICT;
    CREATE TABLE key_list (
        revision INTEGER PRIMARY KEY, content BLOB NOT NULL, text BLOB NOT NULL, signed_s INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE crl (number INTEGER PRIMARY KEY AUTOINCREMENT, made_s INTEGER NOT NULL) STRICT;
    CREATE TABLE log (
        number INTEGER PRIMARY KEY AUTOINCREMENT, time_s INTEGER NOT NULL, actor TEXT NOT NULL,
        what TEXT NOT NULL, id TEXT NOT NULL, detail TEXT NOT NULL
    ) STRICT;
    CREATE TRIGGER log_is_not_changed BEFORE UPDATE ON log
        BEGIN SELECT raise(ABORT, 'the log is not changed'); END;
    CREATE TRIGGER log_is_not_shortened BEFORE DELETE ON log
        BEGIN SELECT raise(ABORT, 'the log is not shortened'); END;
    """,
)
