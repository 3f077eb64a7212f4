"""The paper node: the same organism, policy and law in a Nautilus TradingNode, fed by a tape or a venue."""
