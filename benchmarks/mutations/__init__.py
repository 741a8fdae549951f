"""Artefacts made to harm, and a process that sees what loading them does."""
