# SPDX-License-Identifier: MIT
"""What tests of the whole service share."""
