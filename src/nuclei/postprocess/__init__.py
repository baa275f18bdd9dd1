"""From probability maps to label maps: an ordered list of pure steps, read from ``configs/postprocess/``.

The first step turns maps into labels, the later ones labels into labels; see ``pipeline``.
"""
