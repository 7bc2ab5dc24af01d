"""Where records are kept: `base.py` is the contract, each other module one way to keep it."""
