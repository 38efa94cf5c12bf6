"""What does not depend on Asterisk: requests, commands, expiry, refusals, the lease."""
