"""Who one is in a job: join strings, keys, certificates and proofs, written from the protocol's description."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
import hmac
import os
import struct
import urllib.parse
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import quicpeer
from quicpeer import Credentials

# --- what a worker is given ------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class JoinString:
    address: quicpeer.Address
    token: bytes
    fingerprint: bytes

    @staticmethod
    def parse(text: str) -> JoinString:
        url = urllib.parse.urlsplit(text)
        fields = dict(urllib.parse.parse_qsl(url.query, strict_parsing=True))
        token = base64.urlsafe_b64decode(fields["token"] + "=")
        return JoinString((url.hostname or "", url.port or 0), token, bytes.fromhex(fields["ca"].split(":")[1]))

    def __str__(self) -> str:
        token = base64.urlsafe_b64encode(self.token).decode().rstrip("=")
        return f"nexar://{self.address[0]}:{self.address[1]}?token={token}&ca=sha256:{self.fingerprint.hex()}"


# --- identity --------------------------------------------------------------------------------------------------------


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def node_of(public_key: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(public_key.public_bytes(serialization.Encoding.DER, form)).digest()[:16]


def name_of(certificate: x509.Certificate) -> str:
    """The one name of the protocol's in a certificate."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    return str(uri)


def check_issued(certificate: x509.Certificate, authority: x509.Certificate) -> None:
    """Raises if the authority has not signed it, or it is not current."""
    certificate.verify_directly_issued_by(authority)
    now = datetime.datetime.now(datetime.timezone.utc)
    assert certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


class Key:
    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.node = node_of(self.private.public_key())

    def request(self) -> bytes:
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        return builder.sign(self.private, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


class Authority:
    """Issues certificates like those of a seed, or nearly like them; or such that seem to be of another authority."""

    def __init__(self, imitated: Authority | None = None) -> None:
        self.cluster: bytes = os.urandom(16) if imitated is None else imitated.cluster
        self._private = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._issue(self._private.public_key(), self._name("ca"), True, 3600)
        self._named = self if imitated is None else imitated

    @property
    def fingerprint(self) -> bytes:
        return hashlib.sha256(der(self.certificate)).digest()

    def issue(self, public_key: Any, last: str, lifetime: float = 3600) -> x509.Certificate:
        """A leaf whose name ends in `last`; with a negative lifetime, one that has expired."""
        return self._issue(public_key, self._name(last), False, lifetime)

    def credentials(self, key: Key, last: str | None = None, lifetime: float = 3600) -> Credentials:
        leaf = self.issue(key.private.public_key(), last or key.node.hex(), lifetime)
        return Credentials(leaf, key.private, [self.certificate])

    def credentials_named(self, name: str) -> Credentials:
        key = Key()
        return Credentials(self._issue(key.private.public_key(), name, False, 3600), key.private, [self.certificate])

    def _name(self, last: str) -> str:
        return f"nexar:{self.cluster.hex()}:{last}"

    def _issue(self, public_key: Any, name: str, is_ca: bool, lifetime: float) -> x509.Certificate:
        ca_subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "foreign authority")])
        subject = ca_subject if is_ca else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "foreign node")])
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(name)]
        if not is_ca:
            names.append(x509.DNSName("localhost"))
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=2))
            .not_valid_after(now + datetime.timedelta(seconds=lifetime))
            .add_extension(x509.BasicConstraints(is_ca, 0 if is_ca else None), critical=True)
            .add_extension(_usage(sign_certificates=is_ca), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
        )
        if not is_ca:
            uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._named._private.public_key())
            builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            builder = builder.add_extension(issuer, critical=False)
        return builder.sign(self._private, hashes.SHA256())


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


# --- proofs ----------------------------------------------------------------------------------------------------------


def _label(word: str) -> bytes:
    return f"nexar-join/1 {word}".encode().ljust(24, b"\0")


def proof_key(token: bytes) -> bytes:
    return hmac.digest(_label("token"), token, "sha256")


@dataclasses.dataclass
class Proofs:
    """What both sides have seen before they prove that they know the key."""

    key: bytes
    certificate: bytes  # the seed's, in DER
    worker_nonce: bytes = b""
    seed_nonce: bytes = b""

    def of(self, role: str, *said: bytes) -> bytes:
        spoken = b"".join(struct.pack("<Q", len(archive)) + archive for archive in said)
        parts = [_label(role), self.worker_nonce, self.seed_nonce]
        parts += [hashlib.sha256(self.certificate).digest(), hashlib.sha256(spoken).digest()]
        return hmac.digest(self.key, b"".join(parts), "sha256")
