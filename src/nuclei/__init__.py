"""Find every nucleus in a microscopy image: from the competition's files to a submission.

The flow, in order; each stage is a command that reads files and writes files::

    competition files ─prepare→ store ─folds→ folds/*.csv
            store + fold + model ─train→ run: checkpoint + out-of-fold maps
                            runs ─ensemble→ weights + post-processing settings
            test images + ensemble ─submission→ submissions/NAME.csv ─validate, submit→ ledger

Two things travel along it, and no third: *maps*, ``(C, H, W)`` probabilities with named channels, and
*labels*, ``int32 (H, W)`` with 0 for background and 1..N for the nuclei.
"""
