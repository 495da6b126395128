"""The demo and the published experiments that `python -m fastfa` runs; the library needs none."""
