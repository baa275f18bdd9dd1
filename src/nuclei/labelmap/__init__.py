"""Loops over pixels and digits, compiled by numba: the only package that imports numba.

The functions take and return plain arrays and trust their callers to have checked them. The first call of a
function in a fresh checkout compiles it, which takes seconds; the result is kept in ``__pycache__`` or in
``NUMBA_CACHE_DIR``. Modules that must start at once import from here inside the function that needs it.
"""
