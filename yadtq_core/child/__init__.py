"""The side where tasks run: a child process, its slots (`child`), how a job is run (`runner`), and what travels
between it and its worker (`pipe`). Imports neither kafka nor redis.
"""
