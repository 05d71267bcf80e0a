"""The form of this proxy's keys: `sk-tu-`, 43 characters of chance, 6 check characters.

The 43 are 32 random bytes in base64url; the 6 are the CRC-32 of those characters, in base64url too (the idea is that of
GitHub's tokens). So a mistyped or cut key is told apart from one that was revoked or made elsewhere, without a look at
any list, and scanners for leaked secrets can tell a key from a word.

What is stored of a key is its SHA-256, unsalted and fast. Slow hashes and salts protect passwords, which can be
guessed one after the other; of 2^256 keys none can. Nor does it help to time the look-up, which is by that hash:
whoever chooses the key cannot choose how its hash begins.
"""

import base64
import hashlib
import re
import secrets
import zlib

PREFIX = "sk-tu-"
_RANDOM_CHARS, _CHECK_CHARS = 43, 6
LENGTH = len(PREFIX) + _RANDOM_CHARS + _CHECK_CHARS
_FORM = re.compile(rf"sk-tu-[A-Za-z0-9_-]{{{_RANDOM_CHARS + _CHECK_CHARS}}}")


def new_key() -> str:
    """A key that nobody has had before."""
    chance = _base64(secrets.token_bytes(32))
    return PREFIX + chance + _check(chance)


def hash_of(key: str) -> str:
    """64 hex digits: SHA-256 of the key's text, what is stored of it."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def form_fault(key: str) -> str:
    """What is wrong with the form of a key; empty when it could be one."""
    if len(key) != LENGTH:
        return f"it has {len(key)} characters instead of {LENGTH}"
    if not _FORM.fullmatch(key):
        return "it holds characters that no key has"
    if _check(key[len(PREFIX) : -_CHECK_CHARS]) != key[-_CHECK_CHARS:]:
        return "its check characters do not fit"
    return ""


def _check(chance: str) -> str:
    return _base64(zlib.crc32(chance.encode("ascii")).to_bytes(4, "big"))


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
