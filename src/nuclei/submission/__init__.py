"""From label maps to a submission: run-length code, the CSV, its rules."""
