"""A certificate authority for servers of the tests, which nobody else trusts."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_VALID = timedelta(days=1)


class Authority:
    """Has a certificate of its own, and one that it signed for a server on the loopback.

    Args:
        folder: where the files are written; made if need be.

    Attributes:
        certificate: the file with its own, by which clients know what it signed.
        server_certificate: the file with the server's.
        server_key: the file with the server's key.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate = folder / "authority.pem"
        self.server_certificate = folder / "server.pem"
        self.server_key = folder / "server.key"
        own_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        name = _name("An authority of the tests")
        own = _certificate(name, own_key, name, own_key, x509.BasicConstraints(True, 0))
        here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        signed = _certificate(_name("A server of the tests"), server_key, name, own_key, here)
        self.certificate.write_bytes(own.public_bytes(serialization.Encoding.PEM))
        self.server_certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        self.server_key.write_bytes(
            server_key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuers_key: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.now(UTC)
    signer = x509.SubjectKeyIdentifier.from_public_key(issuers_key.public_key())
    identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _VALID)
        .not_valid_after(now + _VALID)
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(identifier, critical=False)
        .sign(issuers_key, hashes.SHA256())
    )
