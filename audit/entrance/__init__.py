"""The entrance: whose entries come in, how they are checked, and what is promised of them."""
