"""Evolution: candidates and their selection. Empty until its mechanism exists (docs/ROADMAP.md, M2)."""
