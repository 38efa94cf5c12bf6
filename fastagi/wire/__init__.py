"""Bytes to messages and back: no Twisted, no clock, no logging."""
