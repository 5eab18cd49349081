"""Panels: each a view of an explorer's results that can also be used alone."""
