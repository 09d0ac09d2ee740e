"""`python -m tests.trivy`: install it, if it is not there."""

from tests.trivy import installed

installed()
