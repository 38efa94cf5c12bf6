"""The whole service in memory, on a fake clock and with a fake Asterisk."""
