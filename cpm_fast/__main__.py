"""python -m cpm_fast: the same as the command cpm-fast."""

import sys

from cpm_fast.cli import main

sys.exit(main())
