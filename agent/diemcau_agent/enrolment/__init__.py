"""The kit's certificate: made, asked for and renewed by EST (RFC 7030) in a short-lived process of its own.

``diemcau-agent enrol`` is the only way in. The daemon imports nothing of this: cryptography costs 8 MB.
"""
