"""Keys and API credentials: where they come from, and that nothing ever shows one.

Invariants
    K1  no repr, exception, log line or traceback contains a key, secret, passphrase or password
    K2  a keystore that others than its owner can read is not opened
    K3  a key can be neither copied nor pickled out of its process

Some handlers print the local variables of a traceback's frames. So a secret in a variable here is `Hidden`, or is
let go of before anything is raised.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from coincurve import PrivateKey

from polytraders.venue.orders.typed import checksum, keccak
from polytraders.venue.refusal import Refused

KEY, KEYSTORE, PASSWORD_FILE = "POLYTRADERS_KEY", "POLYTRADERS_KEYSTORE", "POLYTRADERS_KEYSTORE_PASSWORD_FILE"
API_KEY, API_SECRET, API_PASSPHRASE = (f"POLYTRADERS_API_{name}" for name in ("KEY", "SECRET", "PASSPHRASE"))
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of the curve secp256k1


class Hidden(str):
    """Text that a list, a traceback or a debugger shows as `<hidden>`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<hidden>"


class Key:
    """A private key that signs digests and shows its address only. Raises `Refused` when it is none."""

    __slots__ = ("_private", "address")

    def __init__(self, text: str | bytes):
        private = _private_key(text)
        del text
        if private is None:
            raise Refused("SEC_KEY_UNUSABLE", "this is not a private key: 32 bytes in hexadecimal", where="key")
        self._private = private
        self.address = checksum(keccak(private.public_key.format(compressed=False)[1:])[12:])

    def sign(self, digest: bytes) -> bytes:
        """r, s and v (27 or 28) over a 32-byte digest; the same digest gives the same 65 bytes (RFC 6979)."""
        raw = self._private.sign_recoverable(digest, hasher=None)
        return raw[:64] + (b"\x1b" if raw[64] == 0 else b"\x1c")

    def __repr__(self) -> str:
        return f"<key of {getattr(self, 'address', 'nobody')}>"  # a traceback may show it half made

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a key does not leave its process")


def _private_key(text: str | bytes) -> PrivateKey | None:
    try:
        raw = text if isinstance(text, bytes) else bytes.fromhex(text.strip().removeprefix("0x"))
        good = len(raw) == 32 and 0 < int.from_bytes(raw, "big") < _ORDER
        return PrivateKey(raw) if good else None
    except (ValueError, AttributeError):
        return None  # the error quotes what it could not read


class Credentials:
    """The venue's API key, shown, with its secret and passphrase, never shown."""

    __slots__ = ("api_key", "passphrase", "secret")

    def __init__(self, api_key: str, secret: str, passphrase: str):
        self.api_key, self.secret, self.passphrase = api_key, Hidden(secret), Hidden(passphrase)

    def __repr__(self) -> str:
        return f"<credentials of API key {self.api_key}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("credentials do not leave their process")


def load_key(environment: Mapping[str, str] = os.environ) -> Key:
    """The key in POLYTRADERS_KEY, or that of POLYTRADERS_KEYSTORE under the password that stands in the file
    POLYTRADERS_KEYSTORE_PASSWORD_FILE names. Raises `Refused` when there is none, or two."""
    names = (KEY, KEYSTORE, PASSWORD_FILE)
    key, keystore, password_file = (Hidden(environment.get(name, "")) for name in names)
    del environment
    if bool(key) == bool(keystore):
        what = "there are two keys" if key else "there is no key"
        raise Refused("SEC_KEY_UNUSABLE", what, where="environment", mend=f"set one of {KEY} and {KEYSTORE}")
    if key:
        return Key(key)
    if not password_file:
        raise Refused("SEC_KEY_UNUSABLE", "the keystore has no password", mend=f"set {PASSWORD_FILE}")
    return read_keystore(Path(keystore), _private_text(Path(password_file)).rstrip("\r\n"))


def load_credentials(environment: Mapping[str, str] = os.environ) -> Credentials:
    """The API credentials of POLYTRADERS_API_KEY, _SECRET and _PASSPHRASE. Raises `Refused` when one is missing."""
    found = {name: Hidden(environment.get(name, "")) for name in (API_KEY, API_SECRET, API_PASSPHRASE)}
    del environment
    if missing := [name for name, value in found.items() if not value]:
        raise Refused("SEC_CREDENTIALS_UNUSABLE", f"{', '.join(missing)} is not set", where="environment")
    return Credentials(*found.values())


def read_keystore(path: Path, password: str) -> Key:
    """The key of an Ethereum keystore (version 3). Raises `Refused` when the file or the password is wrong."""
    import json

    from eth_keyfile import decode_keyfile_json

    password, raw = Hidden(password), None
    text = _private_text(path)
    with suppress(ValueError, KeyError, TypeError, AttributeError, NotImplementedError):
        raw = decode_keyfile_json(json.loads(text), password.encode())
    if raw is None:
        raise Refused("SEC_KEY_UNUSABLE", "no key opens: not a keystore, or not its password", where=str(path))
    return Key(raw)


def write_keystore(path: Path, text: str, password: str) -> Key:
    """Encrypt the private key `text` into a new keystore of mode 0600. Raises `Refused` when it is no key or the
    file is already there."""
    import json

    from eth_keyfile import create_keyfile_json

    text, password = Hidden(text), Hidden(password)
    key = Key(text)
    content = json.dumps(create_keyfile_json(bytes.fromhex(text.strip().removeprefix("0x")), password.encode()))
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(content)
    except FileExistsError:
        raise Refused("SEC_KEY_UNUSABLE", "is already there", where=str(path), mend="choose another name") from None
    return key


def _private_text(path: Path) -> str:
    """A file that only its owner may read (K2)."""
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            if status.st_mode & 0o077 or status.st_uid != os.getuid():
                what = f"mode {status.st_mode & 0o777:04o}, owner {status.st_uid}: others can read it"
                raise Refused("SEC_KEY_EXPOSED", what, where=str(path), mend=f"chmod 600 {path}, and be its owner")
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        what = "cannot be read" if isinstance(error, UnicodeDecodeError) else error.strerror or "cannot be read"
    raise Refused("SEC_KEY_UNUSABLE", what, where=str(path))
