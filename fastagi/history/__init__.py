# SPDX-License-Identifier: MIT
"""What Asterisk wrote down of calls nobody watched: queue_log and CDRs."""
