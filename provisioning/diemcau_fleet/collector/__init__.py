"""Stores what every point reports, exactly once, and has what was lost sent again (docs/collector.md).

``reading``, ``gaps``, ``spools``, ``times``, ``presence``, ``batch``, ``ledger`` and ``repair`` (pure: what a
message means and what is to be done), ``schema``, ``records`` (reads SQLite) and ``store`` (writes it),
``session`` (MQTT), ``collect`` (the loop) and ``command`` (the whole).
"""
