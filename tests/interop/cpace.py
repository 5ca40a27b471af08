"""CPace, as section 5 uses it: ristretto255, SHA-512, initiator and responder."""

from dataclasses import dataclass

import ristretto
from primitives import hmac_sha512, lv_cat, sha512

VERSION = b"\x00\x01"


@dataclass(frozen=True)
class Binding:
    """What the finished TLS handshake gives, at the end of section 3."""

    exporter: bytes
    fp_d: bytes
    fp_l: bytes

    @property
    def sid(self) -> bytes:
        return self.exporter[:32]

    @property
    def salt(self) -> bytes:
        return self.exporter[32:]


def channel_identifier(binding: Binding) -> bytes:
    return lv_cat(b"sesame-v1", VERSION, binding.fp_d, binding.fp_l)


def generator_string(prs: bytes, binding: Binding) -> bytes:
    return lv_cat(b"CPaceRistretto255", prs, bytes(76), channel_identifier(binding), binding.sid)


def generator(prs: bytes, binding: Binding) -> bytes:
    return ristretto.element_from_hash(sha512(generator_string(prs, binding)))


def scalar(draw: bytes) -> bytes:
    return draw[:31] + bytes([draw[31] & 0x0F])


def intermediate_key(sid: bytes, k: bytes, ya: bytes, ad_a: bytes, yb: bytes, ad_b: bytes) -> bytes:
    return sha512(lv_cat(b"CPaceRistretto255_ISK", sid, k) + lv_cat(ya, ad_a, yb, ad_b))


def mac_key(sid: bytes, isk: bytes) -> bytes:
    return sha512(b"CPaceMac" + sid + isk)


def confirmation(key: bytes, share: bytes, associated_data: bytes) -> bytes:
    return hmac_sha512(key, lv_cat(share, associated_data))
