"""What everything else is built on: networks, traces, targets and rules. Imports nothing of the house."""
