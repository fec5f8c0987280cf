"""What speaks with Braze: requests, its rate limit, its answers, and how it writes phone numbers.

Imports the standard library, requests, backoff and msgspec, `reading` and `concurrency`; never singer_sdk.
"""
