"""The settings: one YAML file, checked as a whole before it is used."""
