"""Reproduce five papers: train their systems, score them, and write a page of their figures and ours."""
