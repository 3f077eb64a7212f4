"""Evolution: genotypes, their development into policies, and the operators that change them (docs/ROADMAP.md, M2)."""
