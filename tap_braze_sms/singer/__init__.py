"""What the plugins are as Singer programs: command line, messages, progress, and redaction of what they say.

Imports the Singer SDK, and every other folder; no other folder imports the SDK.
"""
