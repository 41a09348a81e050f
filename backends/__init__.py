"""The adapters that come with `bench`, one file a runtime, each found through the entry-point
group ``bench.backends``. Importing an adapter imports no runtime."""
