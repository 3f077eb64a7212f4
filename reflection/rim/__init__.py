"""Reflection's learning engines: what is known of an edit in, an expected uplift and a calibrated confidence out."""
