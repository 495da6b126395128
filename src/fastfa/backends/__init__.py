"""Engines that run a network from its description: `_core` in C, `reference` in NumPy."""
