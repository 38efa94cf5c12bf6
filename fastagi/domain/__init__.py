"""The domain: no Twisted, no SQL, no bytes; the time is always an argument."""
