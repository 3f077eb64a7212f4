"""Adaptation: the policy, the Organism that carries it out, its router and its execution topologies."""
