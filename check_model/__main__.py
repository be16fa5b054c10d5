"""The command, as `python -m check_model`."""

import sys

from check_model.command import main

sys.exit(main())
