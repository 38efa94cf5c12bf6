"""Values and pure functions: no Twisted, SQL or network; time is an argument."""
