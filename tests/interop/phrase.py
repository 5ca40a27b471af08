"""Section 2: from what the user gave to PRS."""

import codecs
import unicodedata

import openssl_settings  # noqa: F401
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

SALT = b"sesame-v1 phrase"
LONGEST = 1024


def normalised(given: bytes) -> bytes:
    """The bytes that Argon2id gets. Raises ValueError for a phrase that section 2 refuses."""
    line = given.removeprefix(codecs.BOM_UTF8)
    for line_end in (b"\r\n", b"\n", b"\r"):
        if line.endswith(line_end):
            line = line.removesuffix(line_end)
            break
    if not 1 <= len(line) <= LONGEST:
        raise ValueError("expected a passphrase of 1 to 1,024 bytes")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise ValueError("the passphrase is not UTF-8") from None
    if any(character in text for character in "\n\r\0"):
        raise ValueError("the passphrase is not one line")
    return unicodedata.normalize("NFC", text).encode()


def prs(phrase: bytes) -> bytes:
    kdf = Argon2id(salt=SALT, length=32, iterations=3, lanes=4, memory_cost=65_536)
    return kdf.derive(phrase)
