"""Adapters for other people's frameworks."""
