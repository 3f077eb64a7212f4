"""Reflection: the decision diary, ex-post outcomes and the report."""
