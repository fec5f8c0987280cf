"""Singer tap for Braze's invalid-phone-number list, and the target that takes numbers off it."""

import time

#: When the process began, on the monotonic clock: a command imports this before anything else, which takes a second.
STARTED = time.monotonic()
