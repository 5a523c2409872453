"""``python -m vervet`` is the command line."""

import sys

from vervet.cli import main

if __name__ == "__main__":
    sys.exit(main())
