"""The desk over HTTP: FastAPI, bearer tokens, on loopback unless told otherwise."""
