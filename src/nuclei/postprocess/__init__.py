"""From probability maps to label maps, by an ordered list of steps as in ``configs/postprocess/``.

The first step turns maps into labels, each later one labels into labels; no step changes its input. See
``pipeline``.
"""
