"""The FastAGI server on Twisted."""
