"""How fast, against whom, and how that was measured: `make bench` runs `bench.run`; BENCHMARKS.md tells the rest."""
