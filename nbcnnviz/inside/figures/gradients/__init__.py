"""The norms of every layer, the histograms of one, and the dead filters."""
