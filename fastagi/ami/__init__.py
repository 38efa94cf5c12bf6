"""The Asterisk Manager Interface client on Twisted."""
