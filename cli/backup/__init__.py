"""Backups: the database and every version that it names, in one folder that proves itself."""
