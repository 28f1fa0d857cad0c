"""Packets to rows with Zeek's semantics: our own flow engine, and tshark's dissection on top of it."""
