"""Section 3: TLS 1.3 over a stream, and the cells in it."""

import asyncio
import os
from datetime import datetime

import openssl_settings  # noqa: F401
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID
from OpenSSL import SSL

from cpace import Binding
from errors import Fault, Lost
from frames import Reader
from handshake import CELL
from primitives import sha256

GROUP = "X25519MLKEM768"
CIPHER = "TLS_CHACHA20_POLY1305_SHA256"
READ = 16_384
LONGEST_CERTIFICATE = 65_535
CRITICAL_EXTENSIONS = (
    ExtensionOID.KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.NAME_CONSTRAINTS,
    ExtensionOID.CRL_DISTRIBUTION_POINTS,
    ExtensionOID.EXTENDED_KEY_USAGE,
)
# What `cryptography` raises for a certificate that it cannot read or verify.
INVALID_CERTIFICATE = (
    ValueError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
)


class TlsChannel:
    """TLS on one TCP connection. OpenSSL works in memory; asyncio moves the bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, dialled: bool):
        self.reader = reader
        self.writer = writer
        self.dialled = dialled
        self.certificate, context = new_context()
        self.tls = SSL.Connection(context, None)
        if dialled:
            self.tls.set_connect_state()
        else:
            self.tls.set_accept_state()
        self.received = b""

    async def handshake(self) -> Binding:
        while True:
            try:
                self.tls.do_handshake()
                break
            except SSL.WantReadError:
                self.flush()
                await self.feed()
            except SSL.Error as error:
                # The alert.
                self.flush()
                raise Fault(f"TLS failed: {reason_of(error)}") from None
        self.check_parameters()
        other = self.peer_certificate()
        if self.flush() and not self.dialled:
            raise RuntimeError("OpenSSL sends session tickets: it has not read openssl.cnf")
        own_fp, other_fp = sha256(self.certificate), sha256(other)
        return Binding(
            exporter=self.tls.export_keying_material(b"EXPORTER-sesame-v1", 64, b""),
            fp_d=own_fp if self.dialled else other_fp,
            fp_l=other_fp if self.dialled else own_fp,
        )

    def check_parameters(self) -> None:
        found = (self.tls.get_protocol_version_name(), self.tls.get_cipher_name())
        if found != ("TLSv1.3", CIPHER) or self.tls.get_group_name() != GROUP:
            raise RuntimeError("TLS chose other parameters: OpenSSL has not read openssl.cnf")

    def peer_certificate(self) -> bytes:
        # OpenSSL's chain contains the peer's own certificate at the client only.
        others = len(self.tls.get_peer_cert_chain() or []) - (1 if self.dialled else 0)
        if others != 0:
            raise Fault("the other end sent more than one certificate")
        try:
            return check_certificate(self.tls.get_peer_certificate(as_cryptography=True))
        except INVALID_CERTIFICATE:
            raise Fault("the certificate is invalid") from None

    async def feed(self) -> None:
        data = await self.reader.read(READ)
        if not data:
            raise Lost
        self.tls.bio_write(data)

    def flush(self) -> int:
        """Passes on what OpenSSL wrote, and returns how many bytes that were."""
        written = 0
        while True:
            try:
                data = self.tls.bio_read(READ)
            except SSL.WantReadError:
                return written
            self.writer.write(data)
            written += len(data)

    async def read_cell(self) -> bytes:
        while len(self.received) < CELL:
            try:
                self.received += self.tls.recv(READ)
            except SSL.WantReadError:
                await self.feed()
            except SSL.ZeroReturnError:
                raise Lost from None
            except SSL.Error:
                raise Fault("TLS sent an invalid record") from None
        cell, self.received = self.received[:CELL], self.received[CELL:]
        return cell

    def write_cell(self, cell: bytes) -> None:
        assert len(cell) == CELL
        if self.writer.is_closing():
            return
        self.tls.send(cell)
        self.flush()

    def is_sending(self) -> bool:
        """Whether the kernel has not taken all of the cells before."""
        return self.writer.transport.get_write_buffer_size() > 0

    async def finish(self, seconds: float) -> None:
        """Ends this direction, and drops what arrives until the other end closes.

        A close with unread data could make the kernel send a reset, which overtakes the last
        cell.
        """
        try:
            async with asyncio.timeout(seconds):
                self.writer.write_eof()
                while await self.reader.read(READ):
                    pass
        except (TimeoutError, OSError):
            pass

    def abort(self) -> None:
        """Closes at once. It sends no close_notify, as section 3 wants."""
        self.writer.transport.abort()


def reason_of(error: SSL.Error) -> str:
    """The text of OpenSSL for its last error. It contains nothing that the peer sent."""
    match error.args:
        case [[*_, [_library, _function, reason]]]:
            return reason
    return "no reason given"


def new_context() -> tuple[bytes, SSL.Context]:
    """A new key with its certificate, as DER, and the settings for one connection."""
    key = Ed25519PrivateKey.generate()
    no_name = x509.Name([])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(no_name)
        .issuer_name(no_name)
        # Serial numbers are positive.
        .serial_number(int.from_bytes(os.urandom(16), "big") | 1)
        .not_valid_before(datetime(1975, 1, 1))
        .not_valid_after(datetime(4096, 1, 1))
        .public_key(key.public_key())
        .sign(key, None)
    )
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_privatekey(key)
    context.use_certificate(certificate)
    # The handshake of section 5 authenticates the other end. So OpenSSL only has to ask for the
    # certificate here, and accepts each.
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_details: True)
    return certificate.public_bytes(Encoding.DER), context


def check_certificate(certificate: x509.Certificate) -> bytes:
    """Verifies what section 3 lists, and returns the certificate as DER."""
    der = certificate.public_bytes(Encoding.DER)
    key = certificate.public_key()
    if certificate.version != x509.Version.v3 or len(der) > LONGEST_CERTIFICATE:
        raise Fault("the certificate has another version, or is too long")
    if not isinstance(key, Ed25519PublicKey):
        raise Fault("the certificate has another kind of key")
    # OpenSSL does not verify the signature of a self-signed certificate.
    key.verify(certificate.signature, certificate.tbs_certificate_bytes)
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in CRITICAL_EXTENSIONS:
            raise Fault("the certificate has an unknown critical extension")
    if has_unique_identifiers(certificate.tbs_certificate_bytes):
        raise Fault("the certificate has a unique identifier")
    return der


def has_unique_identifiers(tbs: bytes) -> bool:
    """`cryptography` reads over these fields, which have the tags 1 and 2 (RFC 5280, 4.1)."""
    outer = Reader(tbs)
    fields = Reader(read_der(outer)[1])
    while fields.left():
        tag, _content = read_der(fields)
        if tag & 0xC0 == 0x80 and tag & 0x1F in (1, 2):
            return True
    return False


def read_der(reader: Reader) -> tuple[int, bytes]:
    tag, length = reader.number(1), reader.number(1)
    if length & 0x80:
        length = reader.number(length & 0x7F)
    return tag, reader.take(length)
