"""A model's speed on this machine, beside what the machine allows (measure.py) and beside other programs (peers.py)."""
