"""The one door to libp2p: TCP, noise and yamux under the seam of `node/transport.py` (DESIGN §5).

Nothing outside imports libp2p or multiaddr. `transport.Libp2pTransport` is what the node uses;
`protocol/spec` knows nothing of this package, and this package nothing of documents.
"""
