"""Runs: a pipeline on a stream of events, with its log, manifest and summary."""
