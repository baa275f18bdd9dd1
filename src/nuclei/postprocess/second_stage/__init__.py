"""The second stage: boosted trees that choose among the nuclei of several settings of the watershed."""
