"""Kernels for GPUs: their text, and how a step of a network is made of them."""
