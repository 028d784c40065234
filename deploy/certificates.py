"""Certificates: the consortium's authority, and what it signs for its members.

The one rule: a private key is made in the folder where it is used, with a request that travels
instead of it. The authority sees requests only. It decides by name and hosts; who may join is
decided elsewhere, by people.
"""

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from audit.settings import SettingsError

_AUTHORITY_VALID = timedelta(days=3650)
_MEMBER_VALID = timedelta(days=397)
"""The longest that the CA/Browser Forum lets a server certificate live."""

_CLOCK_SKEW = timedelta(minutes=5)
"""Flower refuses a node whose clock is off by more; a certificate starts as much earlier."""

_CURVE = ec.SECP256R1


def write_private(path: Path, content: bytes) -> None:
    """Write a secret that its owner alone can read, and that nothing overwrites.

    Raises:
        SettingsError: the file exists.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as cause:
        raise SettingsError(f"{path} exists; a key is never overwritten, move it away") from cause
    with os.fdopen(handle, "wb") as file:
        file.write(content)


def make_request(key_path: Path, *, name: str, organisation: str, hosts: Sequence[str]) -> str:
    """Make a TLS key at `key_path` and return the certificate request for it, as PEM.

    Args:
        key_path: Where the private key is written (PKCS #8 PEM, mode 0600).
        name: The party's name, the certificate's common name.
        organisation: The party's organisation.
        hosts: DNS names and IP addresses at which the party serves; empty for a client.

    Raises:
        SettingsError: the key exists already.
    """
    key = ec.generate_private_key(_CURVE())
    write_private(key_path, _private_pem(key))
    builder = x509.CertificateSigningRequestBuilder().subject_name(_subject(name, organisation))
    if hosts:
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    request = builder.sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


@dataclass(frozen=True, slots=True)
class Authority:
    """The consortium's certificate authority (EC P-256)."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def create(cls, folder: Path, *, consortium: str, now: datetime) -> "Authority":
        """Make a new authority in `folder`: `ca.key` (private) and `ca.pem`.

        Raises:
            SettingsError: there is one already.
        """
        key = ec.generate_private_key(_CURVE())
        write_private(folder / "ca.key", _private_pem(key))
        name = _subject(f"{consortium} authority", consortium)
        certificate = (
            _builder(name, key.public_key(), now=now, valid=_AUTHORITY_VALID)
            .issuer_name(name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(_subject_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        authority = cls(certificate, key)
        (folder / "ca.pem").write_text(authority.pem)
        return authority

    @classmethod
    def load(cls, folder: Path) -> "Authority":
        """The authority that `create` made in `folder`.

        Raises:
            SettingsError: there is none, or its files are not what they should be.
        """
        try:
            key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
            certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        except (OSError, ValueError) as cause:
            raise SettingsError(f"{folder}: no authority (ca.key and ca.pem): {cause}") from cause
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise SettingsError(f"{folder / 'ca.key'}: not an elliptic-curve key")
        return cls(certificate, key)

    @property
    def pem(self) -> str:
        """The authority's own certificate, which every member holds."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, request_pem: str, *, name: str, now: datetime) -> str:
        """Sign a member's request; return the certificate as PEM.

        Raises:
            SettingsError: the request is unreadable, does not prove possession of its key, or is
                for another name than the one enrolled.
        """
        subject, key, hosts = _read_request(request_pem, name)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = _builder(subject, key, now=now, valid=_MEMBER_VALID)
        if hosts is not None:
            builder = builder.add_extension(hosts, critical=False)
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        certificate = (
            builder.issuer_name(self.certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(_subject_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .sign(self.key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _read_request(
    pem: str, name: str
) -> tuple[x509.Name, ec.EllipticCurvePublicKey, x509.SubjectAlternativeName | None]:
    """Subject, key and hosts of a request; every other extension it asks for is left out."""
    try:
        request = x509.load_pem_x509_csr(pem.encode())
    except ValueError as cause:
        raise SettingsError(f"{name}: the certificate request is not PEM") from cause
    parts = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    found = [str(part.value) for part in parts]
    if found != [name]:
        raise SettingsError(f"{name}: the certificate request is for {found or 'nobody'}")
    if not request.is_signature_valid:
        raise SettingsError(f"{name}: the request's signature is not by its own key")
    key = request.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise SettingsError(f"{name}: the request's key is not on an elliptic curve (P-256)")
    try:
        hosts = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        hosts = None
    return request.subject, key, hosts


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, *, now: datetime, valid: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + valid)
    )


def _subject(name: str, organisation: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _subject_key(key: ec.EllipticCurvePublicKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
