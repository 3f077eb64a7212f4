"""AlphaTrade: a governed, continuously learning trading organism on NautilusTrader.

The rooms lie at the root of the repository and are imported as ``alphatrade.<room>``; each link in this folder
leads to one of them. Start reading at :mod:`alphatrade.nodes`.
"""

__version__ = "0.1.0"
