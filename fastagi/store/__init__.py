"""The database of tasks; no other package contains SQL for it."""
