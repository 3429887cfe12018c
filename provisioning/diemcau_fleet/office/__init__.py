"""The fleet's office at the command line: ``diemcau-fleet ca | kit | service | operator | keys | serve-est``
(docs/fleet.md). What a module's ``run`` needs is imported when it runs."""
