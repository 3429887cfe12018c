"""Who belongs to the fleet: kits, services, operators, their certificates and one-time tokens, in one SQLite
file.

Raises RegistryError where what was asked for cannot be, and :mod:`diemcau_agent.database`'s errors.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from typing import Literal

from .authority import Authority, Certificate, Revoked
from .members import Kit, Members, Service, ServiceRole
from .registry_file import RegistryError, RegistryFile

TOKEN_BYTES = 24
"""192 random bits. Nobody tries them all, so SHA-256 keeps them as safely as a slow hash, which is for what
people choose; and a slow one would let anybody who can reach the server keep it busy."""
VALID_H = 72

Kind = Literal["kit", "service", "operator", "server"]


class TokenError(RegistryError):
    """It is not this kit's token, or has been used, or has run out; or the kit was revoked."""


class CertificateError(RegistryError):
    """It is not a kit's certificate of ours that is good now."""


class Registry(RegistryFile):
    """Opened by :meth:`open`, closed by :meth:`close` or ``with``. Not for two threads."""

    # Kits

    def add_kit(
        self, kit: str, groups: Sequence[str] = (), via: str | None = None, valid_s: float = VALID_H * 3600
    ) -> str:
        """Register ``kit``, or take back one that was revoked; its one-time token, which is kept nowhere."""
        with self.change("kit add", kit, f"groups={','.join(groups)} via={via or '-'}") as db:
            self._admit(kit, "kit", again=True)
            if via is not None and self.service_role(via) != "bridge":
                raise RegistryError(f"via: got {via}, expected a service of the role bridge")
            db.execute(
                """INSERT INTO kit VALUES (?, ?, ?)
                   ON CONFLICT (id) DO UPDATE SET groups = excluded.groups, via = excluded.via""",
                (kit, ",".join(groups), via),
            )
            return self._new_token(kit, valid_s)

    def new_token(self, kit: str, valid_s: float = VALID_H * 3600) -> str:
        """Another token, for a kit that lost its key or its card; the one before is void."""
        with self.change("kit token", kit):
            self._present(kit, "kit")
            return self._new_token(kit, valid_s)

    def check_token(self, kit: str, token: str) -> None:
        """Before the request is looked at: whether ``token`` is, or was, the one of ``kit``. An unknown kit
        takes as long as a wrong token. Raises TokenError."""
        found = self.rows("SELECT sha256, expires_s, serial FROM token WHERE id = ?", kit)
        digest, expires_s = found[0][:2] if found else (bytes(32), 0)
        same = hmac.compare_digest(digest, _token_digest(token))
        if not found or not same:
            raise TokenError("not its token")
        if self._now() >= expires_s:
            raise TokenError("the token has run out")

    def enrol(self, kit: str, token: str, key_sha256: bytes, issue: Callable[[], Certificate]) -> bytes:
        """Use up ``token``: the DER of the certificate that ``issue`` makes, if the token holds. The same
        token with the same key again answers the same certificate, since an answer may be lost on the way.
        Raises TokenError."""
        with self.transaction() as db:  # an answer that is given again is no change
            self.check_token(kit, token)
            ((serial, used_by),) = db.execute("SELECT serial, key_sha256 FROM token WHERE id = ?", (kit,))
            if serial is not None:
                if used_by != key_sha256:
                    raise TokenError("the token has been used")
                ((der,),) = db.execute("SELECT der FROM certificate WHERE serial = ?", (serial,))
                return der
            made = issue()
            self._record(kit, made, "enrol")
            db.execute(
                "UPDATE token SET serial = ?, key_sha256 = ? WHERE id = ?", (made.serial, key_sha256, kit)
            )
        return made.der

    def check_certificate(self, serial: str, der: bytes) -> str:
        """The kit whose certificate this is. Raises CertificateError: unknown, revoked, run out, no kit's."""
        found = self.rows(
            """SELECT id, kind, not_after_s, coalesce(certificate.revoked_s, member.revoked_s)
               FROM certificate JOIN member USING (id) WHERE serial = ? AND der = ?""",
            serial,
            der,
        )
        if not found:
            raise CertificateError("the certificate is unknown")
        ((kit, kind, not_after_s, revoked_s),) = found
        if kind != "kit":
            raise CertificateError(f"{kit} is no kit")
        if revoked_s is not None:
            raise CertificateError(f"{kit} was revoked")
        if self._now() >= not_after_s:
            raise CertificateError(f"the certificate of {kit} has run out")
        return kit

    def renew(self, serial: str, der: bytes, issue: Callable[[str], Certificate]) -> bytes:
        """The DER of the next certificate of the kit that shows this one, which stays good until it runs out.
        Raises CertificateError."""
        with self.transaction():
            kit = self.check_certificate(serial, der)
            made = issue(kit)
            self._record(kit, made, "renew")
        return made.der

    # Services, operators, servers

    def add_service(
        self, service: str, role: ServiceRole, issue: Callable[[], Certificate], *, again: bool = False
    ) -> Certificate:
        """With its certificate. ``again``: another one of a service, or operator, that has one."""
        with self.change("service renew" if again else "service add", service, f"role={role}") as db:
            if again:
                self.service_role(service)
            else:
                self._admit(service, "service", again=True)
                db.execute("INSERT OR REPLACE INTO service VALUES (?, ?)", (service, role))
            made = issue()
            self._record(service, made, "certificate")
        return made

    def add_operator(
        self, operator: str, role: str, public: str, points: Sequence[str] = (),
        issue: Callable[[], Certificate] | None = None,
    ) -> Certificate | None:  # fmt: skip
        """The signing key ``public`` of ``operator``, and with ``issue`` a certificate for the broker, of the
        like role there (an installer gives commands, as an operator does)."""
        with self.change("operator add", operator, f"role={role} points={','.join(points)} {public}") as db:
            self._admit(operator, "operator")
            if db.execute("SELECT 1 FROM fleet_key WHERE public = ?", (public,)).fetchone():
                raise RegistryError(f"{operator}: this is a key of the fleet itself")
            for (other,) in db.execute("SELECT id FROM operator WHERE public = ?", (public,)):
                raise RegistryError(f"{operator}: {other} has, or had, this key")
            for point in points:
                self._present(point, "kit")
            db.execute("INSERT INTO operator VALUES (?, ?, ?, ?)", (operator, role, public, ",".join(points)))
            if issue is None:
                return None
            service_role = "operator" if role == "installer" else role
            db.execute("INSERT INTO service VALUES (?, ?)", (operator, service_role))
            made = issue()
            self._record(operator, made, "certificate")
            return made

    def add_server(self, name: str, issue: Callable[[], Certificate]) -> Certificate:
        """A broker's or an EST server's certificate; another one where it has one already."""
        with self.change("ca server", name) as db:
            known = db.execute("SELECT kind FROM member WHERE id = ?", (name,)).fetchone()
            if known != ("server",):
                self._admit(name, "server")
            made = issue()
            self._record(name, made, "certificate")
        return made

    def revoke(self, member: str, kind: Kind) -> int:
        """For good, and every certificate and token with it; how many certificates were still good."""
        now_s = int(self._now())
        with self.change(f"{kind} revoke", member) as db:
            self._present(member, kind)
            db.execute("UPDATE member SET revoked_s = ? WHERE id = ?", (now_s, member))
            db.execute("DELETE FROM token WHERE id = ?", (member,))
            return db.execute(
                "UPDATE certificate SET revoked_s = ? WHERE id = ? AND revoked_s IS NULL AND not_after_s > ?",
                (now_s, member, now_s),
            ).rowcount

    # What is in force

    def members(self) -> Members:
        kits = self.rows(
            "SELECT id, groups, via FROM kit JOIN member USING (id) WHERE revoked_s IS NULL ORDER BY id"
        )
        services = self.rows(
            "SELECT id, role FROM service JOIN member USING (id) WHERE revoked_s IS NULL ORDER BY id"
        )
        revoked = self.rows("SELECT id FROM member WHERE revoked_s IS NOT NULL ORDER BY id")
        return Members(
            tuple(Kit(kit, _split(groups), via) for kit, groups, via in kits),
            tuple(Service(service, role) for service, role in services),
            tuple(member for (member,) in revoked),
        )

    def crl(self) -> bytes:
        """The list of the revoked certificates that have not run out, PEM, with a number of its own. Raises
        AuthorityError and OSError where the authority's key is not at hand."""
        authority = Authority.load(self.directory)
        with self.change("crl") as db:
            now_s = int(self._now())
            number = db.execute("INSERT INTO crl (made_s) VALUES (?)", (now_s,)).lastrowid
            assert number is not None  # of an INSERT
            revoked = db.execute(
                "SELECT serial, revoked_s FROM certificate WHERE revoked_s IS NOT NULL AND not_after_s > ?",
                (now_s,),
            )
            return authority.crl(number, (Revoked(*row) for row in revoked), now_s)

    def _admit(self, member: str, kind: Kind, *, again: bool = False) -> None:
        """A new id, or with ``again`` one of the same kind that was revoked."""
        known = self.rows("SELECT kind, revoked_s FROM member WHERE id = ?", member)
        if not known:
            self._db.execute("INSERT INTO member VALUES (?, ?, ?, NULL)", (member, kind, int(self._now())))
            return
        ((was, revoked_s),) = known
        if was != kind:
            raise RegistryError(f"{member}: the id is, or was, that of a {was}")
        if revoked_s is None:
            hint = "; `kit token` makes it a new token" if kind == "kit" else ""
            raise RegistryError(f"{member}: there is such a {kind} already{hint}")
        if not again:
            raise RegistryError(f"{member}: was revoked, for ever; take another id")
        self._db.execute("UPDATE member SET revoked_s = NULL WHERE id = ?", (member,))

    def _present(self, member: str, kind: Kind) -> None:
        found = self.rows("SELECT revoked_s FROM member WHERE id = ? AND kind = ?", member, kind)
        if not found:
            raise RegistryError(f"{member}: there is no such {kind}")
        if found[0] != (None,):
            raise RegistryError(f"{member}: this {kind} was revoked")

    def service_role(self, service: str) -> ServiceRole:
        """What ``service``, or an operator with a certificate, is at the broker."""
        found = self.rows(
            "SELECT role FROM service JOIN member USING (id) WHERE id = ? AND revoked_s IS NULL", service
        )
        if not found:
            raise RegistryError(f"{service}: there is no such service")
        return found[0][0]

    def _new_token(self, kit: str, valid_s: float) -> str:
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._db.execute(
            "INSERT OR REPLACE INTO token VALUES (?, ?, ?, NULL, NULL)",
            (kit, _token_digest(token), int(self._now() + valid_s)),
        )
        return token

    def _record(self, member: str, made: Certificate, what: str) -> None:
        self._db.execute(
            "INSERT INTO certificate VALUES (?, ?, ?, ?, NULL, ?)",
            (made.serial, member, made.not_before_s, made.not_after_s, made.der),
        )
        self.log(what, member, f"serial={made.serial}")


def _token_digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _split(names: str) -> tuple[str, ...]:
    return tuple(names.split(",")) if names else ()
