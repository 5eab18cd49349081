"""What a layer has learnt, filter by filter, and beside it what the target would change."""
