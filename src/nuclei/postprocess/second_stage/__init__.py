"""The second stage: boosted trees choose among the nuclei that several thresholds of the watershed give."""
