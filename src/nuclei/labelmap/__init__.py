"""The loops that run once for each pixel or digit, compiled by numba: the only room that imports it.

Plain arrays in, plain arrays out; whoever calls has checked them. The first call of each loop in a fresh
checkout compiles it (seconds) and keeps the result in ``__pycache__``, or in ``NUMBA_CACHE_DIR``. Rooms that
must start at once import from here inside the function that needs it.
"""
