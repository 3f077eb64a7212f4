"""The live node: the paper node with real orders, which need a signed permit and the approval of the gate."""
