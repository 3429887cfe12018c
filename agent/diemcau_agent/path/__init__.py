"""The path to the centre from near to far, as plain facts; :mod:`.survey` gathers them."""
