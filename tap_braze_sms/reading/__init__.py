"""What decides what is true: which windows to ask for, what an answer proves, what is still unproven.

Imports the standard library and msgspec, and of the standard library neither network, threads, files nor the clock:
whatever it needs to know is handed to it. It knows nothing of Braze's HTTP, nor of Singer.
"""
