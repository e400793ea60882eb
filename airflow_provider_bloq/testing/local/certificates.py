"""Certificates for loopback addresses: self-signed for nodes, signed by a local CA for clusters."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = [
    "CertificateAuthority",
    "KeyedCertificate",
    "load_into",
    "self_signed",
    "server_context",
]


_VALID_FOR = timedelta(days=30)
# So that a certificate is valid for a client whose clock is slow.
_BACKDATED = timedelta(days=1)


class KeyedCertificate:
    """A certificate with its private key."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate in lower-case hex."""
        return self._certificate.fingerprint(hashes.SHA256()).hex()

    def pem(self) -> bytes:
        """Return key and certificate as PEM."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ) + self._certificate.public_bytes(serialization.Encoding.PEM)


def self_signed(address: str) -> KeyedCertificate:
    """Return a self-signed certificate for an IP address, as Bloq's nodes have."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(f"bloq node {address}")
    certificate = (
        _server_builder(subject, address, key.public_key()).issuer_name(subject).sign(key, hashes.SHA256())
    )
    return KeyedCertificate(certificate, key)


class CertificateAuthority:
    """A CA, new at each start, that signs the certificates of clusters."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("bloq-local CA")
        identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        self._certificate = (
            _builder(self._name, self._key.public_key())
            .issuer_name(self._name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def pem(self) -> bytes:
        """Return the CA's certificate as PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def sign(self, address: str) -> KeyedCertificate:
        """Return a certificate of this CA for an IP address."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _server_builder(_name(f"bloq cluster {address}"), address, key.public_key())
            .issuer_name(self._name)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        return KeyedCertificate(certificate, key)


def server_context(certificate: KeyedCertificate) -> ssl.SSLContext:
    """Return a server's TLS context that sends the certificate on each connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # On a resumed session the client would not see a certificate that was replaced in the meantime.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    load_into(context, certificate)
    return context


def load_into(context: ssl.SSLContext, certificate: KeyedCertificate) -> None:
    """Make the context use this certificate from the next handshake on."""
    # OpenSSL reads key and certificate from files only.
    with TemporaryDirectory() as directory:
        path = Path(directory, "server.pem")
        path.touch(mode=0o600)
        path.write_bytes(certificate.pem())
        context.load_cert_chain(path)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _VALID_FOR)
    )


def _server_builder(
    subject: x509.Name, address: str, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    return (
        _builder(subject, public_key)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
