"""How fast nbcnnviz is, beside other tools and beside its own bounds: ``python -m tests.benchmarks``."""
