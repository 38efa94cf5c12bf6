# SPDX-License-Identifier: MIT
"""The pages of the web process, for people in a browser."""
