"""The adapters that come with `bench`, each found through the entry-point group
``bench.backends``: one file a runtime, or a folder where it takes more than one. What several share
is in `shared`. Importing an adapter imports no runtime."""
