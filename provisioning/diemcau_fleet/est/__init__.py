"""Enrolment over Secure Transport (RFC 7030), what a kit needs of it: ``diemcau-fleet serve-est``."""
