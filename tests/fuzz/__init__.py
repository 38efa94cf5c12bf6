# SPDX-License-Identifier: MIT
"""Every parser of what comes from outside, on bytes that a fuzzer makes up."""
