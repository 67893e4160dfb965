"""Tracks drawn into their video."""
