"""The STAMP reflector of the centre (RFC 8762, unauthenticated; RFC 8972 session ids and TLVs).

``mmsg`` (datagrams in batches), ``tlvs`` and ``tables`` (pure), ``reflect`` (the rules), ``sockets``,
``serve`` (the loop of a process) and ``processes`` (one or several of them: the whole).
"""
