"""Market data: recordings in, one catalog of event rows out.

`importer.import_files` turns recordings into the catalog, `catalog.Catalog` lists and loads them,
`checks.check` replays a recording against what its own messages said, `plot.show` draws it and
`synth.synthesise` writes a seeded market in the venue's wire format.
"""
