"""The competition on Kaggle: files, submissions, notebooks, and the ledger of what was sent."""
