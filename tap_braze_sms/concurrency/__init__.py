"""What keeps many requests in flight, in order and until they are cancelled.

Imports the standard library and `reading`; how a request is made is handed to it.
"""
