"""Perception: features, sparse belief and regime, each a pure module beside a thin Nautilus Actor."""
