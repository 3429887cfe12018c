"""The device code: each device in a process of its own (``python -m diemcau_drivers``)."""
