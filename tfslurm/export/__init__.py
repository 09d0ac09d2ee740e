"""A record in other forms. Pure."""
