"""What ``benchmarks/bench.py`` measures, a file for each part, and what the parts share."""
