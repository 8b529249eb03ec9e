"""How the shipped models are made: one module a family, and ``unit24 models build``, which runs them."""
