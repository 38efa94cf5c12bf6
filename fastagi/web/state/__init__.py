# SPDX-License-Identifier: MIT
"""The database of the web process: people, sessions, tokens, and what else it keeps."""
