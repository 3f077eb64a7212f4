"""Hydra configuration groups (YAML only; this file makes the folder a package that Hydra can find)."""
