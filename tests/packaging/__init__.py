# SPDX-License-Identifier: MIT
"""Packages, images and releases, installed and run."""

from typing import Final

#: The date of the files in packages that are built for tests: the same for all commits,
#: so that a package is built again only when its contents change.
EPOCH: Final = 1_767_225_600
