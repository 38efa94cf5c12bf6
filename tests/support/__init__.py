# SPDX-License-Identifier: MIT
"""What several tests need: fakes, recorded dialogues."""
