"""The studio: a local web server over run directories. It reads them, and starts, pauses and stops what the command line would.

A leaf: nothing else imports it. It knows a training only by its run directory and its process.
"""
