"""Data sets: one module for each form in which images and their annotations are published."""
