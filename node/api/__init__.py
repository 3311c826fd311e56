"""The local API over HTTP: routes, their errors, and the listeners that serve them."""
