"""How a written model is called: what the caller sends of the request's rows."""
