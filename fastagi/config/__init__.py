"""Settings: one YAML file, checked as a whole before anything uses it."""
