"""`python -m tests.validator`: install it, if it is not there."""

from tests.validator import installed

installed()
