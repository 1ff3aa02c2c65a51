"""Polymarket: its hosts, markets, rules and streams, and the port through which a run trades there."""
