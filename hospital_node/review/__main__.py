"""`python -m hospital_node.review --config node.toml`."""

import sys

from hospital_node.review.service import main

if __name__ == "__main__":
    sys.exit(main())
