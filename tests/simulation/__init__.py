# SPDX-License-Identifier: MIT
"""The whole service against the model of Asterisk, with random people and faults."""
