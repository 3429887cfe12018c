"""The one part that may restart the machine: a small process of root's, and how the daemon asks it.

``rules`` decides, ``record`` keeps what must not be forgotten, ``serve`` is the process, ``client`` the
daemon's side. The process believes the daemon nothing: not who ordered it, nor when, nor how often.
"""
