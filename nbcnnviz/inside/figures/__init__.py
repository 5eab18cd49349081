"""What is found inside a network, as it is shown: tiles, charts, captions and the numbers behind them.

For the explorer's panels, for files, and for scripts: none of it knows a widget.
"""
