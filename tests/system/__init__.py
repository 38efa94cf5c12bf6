"""The whole service in memory, with a fake clock and the model of Asterisk."""
