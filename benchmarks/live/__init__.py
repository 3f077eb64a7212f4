"""``make live-drill``: a node with real orders at an exchange on loopback, and what tries to get past it. A sandbox."""
