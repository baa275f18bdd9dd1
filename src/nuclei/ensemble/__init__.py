"""From out-of-fold maps of several runs to one ensemble: weights and post-processing, scored honestly."""
