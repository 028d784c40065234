"""`python -m audit.desk --config audit.toml`: the desk's process. What it does is in `service`."""

import sys

from audit.desk.service import main

sys.exit(main())
