"""The submitting side: what an application holds. A call's way through these files:

calls → submissions (validate, build) → submitter (create, publish, acknowledged; `combiner` joins callers, `bulk`
streams many) → confirmer (behind the caller) → handle, waiter (the result, by push). `services` keeps what is open.
"""
