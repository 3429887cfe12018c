"""Another version of ourselves, signed by the release key, and the way back (docs/update.md).

The daemon downloads (``download``, ``client``) and hands the file over. A process of root's (``serve``)
believes it nothing: ``rules`` decides, ``record`` keeps what must not be forgotten, ``steps`` are gone from
wherever the power went, ``system`` is dpkg and systemd, ``look`` says whether the room is as well as
before."""
