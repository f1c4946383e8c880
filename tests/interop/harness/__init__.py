"""What the interop scenarios share; see ../README.md."""
