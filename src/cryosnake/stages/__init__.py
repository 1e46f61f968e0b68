"""Stages after preprocessing, as the workflow's jobs run them.

A stage reads the session's files, calls the rooms (which know of arrays and tables only), and
writes results and decisions, whole or not at all. Rule, script and module share a name.
"""
