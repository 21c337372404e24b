"""Bags: read, played, recorded and written."""
