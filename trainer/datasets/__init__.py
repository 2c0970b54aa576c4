"""People's own data, turned into a packed data set on disk.

`importer.import_data` is the way in: it opens what was given (`container`), finds out what it is (`formats`), decodes
each image (`images`) and writes a pack (`writer`). `pack.open_pack` is the way out: a pack as a `DataSet`, mapped and
not read. `docs/datasets.md` has the formats, the rules and the limits.
"""
