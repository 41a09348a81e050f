"""How the files of a run directory are called, and bundles of runs."""

HEADER = "run.json"
RECORDS = "records.jsonl"
INVOCATIONS = "invocations.jsonl"
WORKERS = "workers.jsonl"
FACTS = "facts.jsonl"
ENERGY = "energy.jsonl"
RESUMES = "resumes.jsonl"
#: The ending of files that `bench results pack` writes.
BUNDLE = ".bench"
