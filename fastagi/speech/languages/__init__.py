# SPDX-License-Identifier: MIT
"""The languages, one module each, named by the language's code."""
