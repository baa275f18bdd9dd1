"""Where a segmentation loses its score: errors by kind and what each costs, groups of images, one report."""
