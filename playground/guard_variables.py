"""How `run` tells the server that it starts what `playground.guard` is to do."""

# The name that the page is served by; unset: there is no guard.
HOST_VARIABLE = "PLAYGROUND_SERVED_AS"
# Further names that it is asked for by, those of proxies, with their port where it is a rare one.
NAMES_VARIABLE = "PLAYGROUND_ALLOWED_HOSTS"
# What is said beside the address once the page is served, where marimo is to say nothing.
SAID_VARIABLE = "PLAYGROUND_SAYS"
