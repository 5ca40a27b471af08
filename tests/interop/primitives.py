"""Section 1: the functions that the other sections use."""

import hashlib
import hmac

import openssl_settings  # noqa: F401
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from errors import Fault


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def sha512(data: bytes) -> bytes:
    return hashlib.sha512(data).digest()


def labelled_hash(label: bytes, *parts: bytes) -> bytes:
    """The page's `hash(label, x…)`."""
    return sha256(bytes([len(label)]) + label + b"".join(parts))


def leb128(number: int) -> bytes:
    encoded = b""
    while number >= 0x80:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


def lv_cat(*parts: bytes) -> bytes:
    return b"".join(leb128(len(part)) + part for part in parts)


def hmac_sha512(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha512")


def extract(salt: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt, ikm, "sha256")


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    return HKDFExpand(SHA256(), length, info).derive(prk)


def x25519_public(secret: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def x25519(secret: bytes, public: bytes) -> bytes:
    key = X25519PrivateKey.from_private_bytes(secret)
    try:
        return key.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise Fault("a product of X25519 is zero") from None


def kem_public(seed: bytes) -> bytes:
    return MLKEM768PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw()


def kem_encapsulate(ek: bytes) -> tuple[bytes, bytes]:
    """The shared secret and the ciphertext. The library draws m."""
    try:
        return MLKEM768PublicKey.from_public_bytes(ek).encapsulate()
    except ValueError:
        raise Fault("an encapsulation key of ML-KEM-768 is invalid") from None


def kem_decapsulate(seed: bytes, ciphertext: bytes) -> bytes:
    return MLKEM768PrivateKey.from_seed_bytes(seed).decapsulate(ciphertext)


# Each key seals one plaintext only, so the nonce can be constant.
NONCE = bytes(12)


def seal(key: bytes, aad: bytes, plaintext: bytes) -> bytes:
    return ChaCha20Poly1305(key).encrypt(NONCE, plaintext, aad)


def unseal(key: bytes, aad: bytes, sealed: bytes) -> bytes:
    try:
        return ChaCha20Poly1305(key).decrypt(NONCE, sealed, aad)
    except InvalidTag:
        raise Fault("a tag does not verify") from None
