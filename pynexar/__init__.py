"""Collectives, messages and calls between processes over QUIC."""
