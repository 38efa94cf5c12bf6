# SPDX-License-Identifier: MIT
"""What is said to callers and agents, as lists of Asterisk's sound file names.

Numbers, durations, times and days are put together from recorded words, in the grammar
of each language. Nothing here knows Asterisk or the network.
"""
