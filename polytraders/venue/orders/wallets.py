"""The wallets that belong to a key: every one is created by CREATE2, so its address follows from its owner's.

The creation codes are those of the factories on Polygon; the bytes around the addresses are the minimal proxy that
each factory deploys.
"""

from __future__ import annotations

from functools import lru_cache

from polytraders.venue.orders.typed import address_bytes, checksum, keccak

_PROXY_FACTORY = address_bytes("0xaB45c5A4B0c941a2F231C04C3f49182e1A254052")
_PROXY_TARGET = address_bytes("0x44e999d5c2F66Ef0861317f9A4805AC2e90aEB4f")
_PROXY_CODE_HASH = keccak(
    bytes.fromhex("3d3d606380380380913d393d73")
    + _PROXY_FACTORY
    + bytes.fromhex("5af4602a57600080fd5b602d8060366000396000f3363d3d373d3d3d363d73")
    + _PROXY_TARGET
    + bytes.fromhex("5af43d82803e903d91602b57fd5bf352e831dd")
    + (32).to_bytes(32, "big")
    + bytes(32)
)
_SAFE_FACTORY = address_bytes("0xaacFeEa03eb1561C4e67d661e40682Bd20E3541b")
_SAFE_CODE_HASH = bytes.fromhex("2bce2127ff07fb632d16c8347c4ebf501f4841168bed00d9e6ef715ddb6fcecf")
_DEPOSIT_FACTORY = address_bytes("0x00000000000Fb5C9ADea0298D729A0CB3823Cc07")
_DEPOSIT_TARGET = address_bytes("0x58CA52ebe0DadfdF531Cde7062e76746de4Db1eB")
_DEPOSIT_BEACON = address_bytes("0x7A18EDfe055488A3128f01F563e5B479D92ffc3a")
# An ERC-1967 proxy whose two arguments, 64 bytes, follow its 0x3d bytes of code: hence 0x7d, and 0x92 with a beacon.
_DEPOSIT_CODE = (
    bytes.fromhex("61007d3d8160233d3973"),
    bytes.fromhex(
        "60095155f3363d3d373d3d363d7f360894a13ba1a3210667c828492db98dca3e2076"
        "cc3735a920a3ca505d382bbc545af43d6000803e6038573d6000fd5b3d6000f3"
    ),
)
_BEACON_CODE = (
    bytes.fromhex("6100923d8160233d3973"),
    bytes.fromhex(
        "60195155f3363d3d373d3d363d602036600436635c60da"
        "1b60e01b36527fa3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6c"
        "b3582b35133d50545afa5036515af43d6000803e604d573d6000fd5b3d6000f3"
    ),
)


def _create2(factory: bytes, salt: bytes, code_hash: bytes) -> str:
    return checksum(keccak(b"\xff" + factory + salt + code_hash)[12:])


@lru_cache(maxsize=1024)
def proxy_wallet(owner: str) -> str:
    """Address of the proxy wallet (signature type 1) of an owner."""
    return _create2(_PROXY_FACTORY, keccak(address_bytes(owner)), _PROXY_CODE_HASH)


@lru_cache(maxsize=1024)
def safe_wallet(owner: str) -> str:
    """Address of the 1-of-1 Safe (signature type 2) of an owner."""
    return _create2(_SAFE_FACTORY, keccak(bytes(12) + address_bytes(owner)), _SAFE_CODE_HASH)


@lru_cache(maxsize=1024)
def deposit_wallets(owner: str) -> tuple[str, str]:
    """Addresses of the deposit wallet (signature type 3) of an owner: the one made today, and the older form."""
    arguments = bytes(12) + _DEPOSIT_FACTORY + bytes(12) + address_bytes(owner)
    salt = keccak(arguments)

    def address(code: tuple[bytes, bytes], target: bytes) -> str:
        return _create2(_DEPOSIT_FACTORY, salt, keccak(code[0] + target + code[1] + arguments))

    return address(_BEACON_CODE, _DEPOSIT_BEACON), address(_DEPOSIT_CODE, _DEPOSIT_TARGET)
