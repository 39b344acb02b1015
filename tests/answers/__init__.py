"""The answers of yadtq to bad input and to dead, wrong or unfit services: a table that is tried and printed."""
