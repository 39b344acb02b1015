"""The submitting side of an application. The way of a call through these files:

call → builder (validate, make the message) → submitter (create the record, publish, wait for the acknowledgement;
`group_commit` joins callers, `bulk` streams many calls) → background (confirm) → handle and waiter (the pushed
result; `again` decides when to ask about it). `fleet` reads the online workers: for the reason of a `WaitTimeout`, and
for `names`, which warns of misspelt task names. `connection` holds the open services.
"""
