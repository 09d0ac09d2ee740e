"""Write a record in other forms. Pure."""
