"""``python -m nuclei COMMAND key=value ...``: see ``nuclei.cli``."""

import sys

from nuclei.cli import main

if __name__ == "__main__":
    sys.exit(main())
