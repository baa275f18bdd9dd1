"""The doors: one module for each command, each with ``main(cfg, call)``."""
