"""The moving parts: each a small class with its collaborators passed in."""
