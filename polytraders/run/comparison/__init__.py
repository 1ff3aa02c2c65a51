"""The parts of `run.compare`: what each of two runs did, which of it is the same, and what the rest comes from."""
