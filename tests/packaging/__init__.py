"""Packages, images and releases, installed and run."""
