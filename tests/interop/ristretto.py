"""The group ristretto255 of RFC 9496, from libsodium 1.0.18 or newer."""

import ctypes
import ctypes.util

from errors import Fault


def _load() -> ctypes.CDLL:
    # find_library needs ldconfig or a compiler, which a small system may lack.
    for name in (ctypes.util.find_library("sodium"), "libsodium.so.23", "libsodium.so.26"):
        if name is None:
            continue
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        if library.sodium_init() >= 0:
            return library
    raise ImportError("libsodium is missing: install the package libsodium23")


_sodium = _load()


def element_from_hash(digest: bytes) -> bytes:
    """Element derivation, section 4.3.4 of the RFC, from 64 bytes."""
    assert len(digest) == 64
    element = ctypes.create_string_buffer(32)
    _sodium.crypto_core_ristretto255_from_hash(element, digest)
    return element.raw


def multiply(scalar: bytes, element: bytes) -> bytes:
    assert len(scalar) == len(element) == 32
    product = ctypes.create_string_buffer(32)
    # libsodium gives one answer for both faults of section 5.
    if _sodium.crypto_scalarmult_ristretto255(product, scalar, element) != 0:
        raise Fault("a CPace share does not decode, or gives the neutral element")
    return product.raw
