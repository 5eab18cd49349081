"""Widgets that several panels are made of."""
