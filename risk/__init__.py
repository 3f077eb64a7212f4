"""Law: what may be sent to the market, who may stop it, and the audit that checks both.

Everything here is pure except the Nautilus shim :mod:`alphatrade.risk.gate`.
"""
