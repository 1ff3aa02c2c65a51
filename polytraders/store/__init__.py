"""The two stores: the run log (the truth) and the envelope store (a projection of it)."""
