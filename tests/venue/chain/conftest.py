"""The chain of these tests."""

from chain_world import compiled, deployed, world  # noqa: F401
