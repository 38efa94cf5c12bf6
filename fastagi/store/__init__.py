"""Durable state: the only package that knows SQL."""
