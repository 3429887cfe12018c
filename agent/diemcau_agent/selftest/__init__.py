"""The self-test: what is asked and expected (plan), and who asks it (runner)."""
