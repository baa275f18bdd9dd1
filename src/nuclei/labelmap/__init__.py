"""Loops over pixels and digits, compiled by numba: the only package that imports numba.

The functions take and return plain arrays and trust their callers to have checked them. The first call of a
function in a fresh checkout compiles it, which takes seconds; see ``compiled`` for where the result is kept.
Modules that must start at once import from here inside the function that needs it.
"""
