"""The venue port: orders that Polymarket accepts, and where they go."""
