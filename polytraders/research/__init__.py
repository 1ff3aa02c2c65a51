"""Research: many trials on one recording, what they prove, and attempts to prove a strategy wrong."""
