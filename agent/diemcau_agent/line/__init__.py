"""The line to the centre: measured by STAMP (RFC 8762), judged, and its first broken link named."""
