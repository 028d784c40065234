"""Records: how long payloads are kept, what holds them, and how two officers remove them."""
