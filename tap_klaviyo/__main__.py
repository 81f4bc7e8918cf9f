"""`python -m tap_klaviyo`."""

import sys

from tap_klaviyo import main

if __name__ == "__main__":
    sys.exit(main())
